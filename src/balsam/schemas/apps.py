"""Apps: what a site can run."""

from pydantic import Field

from balsam.core.limits import MAX_CLASS_CHARS, MAX_PATH_CHARS, MAX_SOURCE_CHARS
from balsam.core.states import TransferDirection
from balsam.schemas.types import Id, Name, Stringy, Text, Wire


class AppParameter(Wire):
    """A parameter of an app's command template or `run()`; defaults travel as text."""

    required: bool
    default: Stringy | None = None
    help: Text = ""


class TransferSlot(Wire):
    """A file or folder that an app stages in or out."""

    required: bool
    direction: TransferDirection
    local_path: Text = Field(max_length=MAX_PATH_CHARS)
    description: Text = ""
    recursive: bool = False


class SerializerInfo(Wire):
    """What made a payload: e.g. `cloudpickle`, `3.1.2`, `3.11`."""

    name: Text
    version: Text
    python: Text


class ClassSerializer(SerializerInfo):
    """`python_exe`: the interpreter at the site that opens the class, where the class chooses one."""

    python_exe: Text | None = None


class AppUpdate(Wire):
    site_id: Id | None = None
    name: Name | None = None
    serialized_class: Text | None = Field(default=None, max_length=MAX_CLASS_CHARS)
    source_code: Text | None = Field(default=None, max_length=MAX_SOURCE_CHARS)
    description: Text | None = None
    parameters: dict[Text, AppParameter] | None = None
    transfers: dict[Text, TransferSlot] | None = None
    hooks: list[Text] | None = None
    isolate: bool | None = None
    serializer: ClassSerializer | None = None


class AppCreate(Wire):
    site_id: Id
    name: Name
    serialized_class: Text = Field(max_length=MAX_CLASS_CHARS)
    source_code: Text = Field(max_length=MAX_SOURCE_CHARS)
    description: Text = ""
    parameters: dict[Text, AppParameter] = Field(default_factory=dict)
    transfers: dict[Text, TransferSlot] = Field(default_factory=dict)
    hooks: list[Text] | None = None  # None: an old client made it; every hook may exist
    isolate: bool = False
    serializer: ClassSerializer | None = None


class AppOut(AppCreate):
    id: Id


class PaginatedAppsOut(Wire):
    count: int | None
    results: list[AppOut]
