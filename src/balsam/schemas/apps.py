"""Apps: what a site can run."""

from pydantic import Field

from balsam.core.limits import (
    MAX_CLASS_CHARS,
    MAX_CODE_PARTS,
    MAX_NAME_CHARS,
    MAX_PATH_CHARS,
    MAX_SOURCE_CHARS,
)
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


class CodeTold(Wire):
    """What a client tells of an app's code, so that versions can be told apart.

    `digest`: another one for other code, the same for the same code whoever pickled it. `parts`: digests of
    the functions, classes and values that make it, by name. `synced_by`: who, and from where.
    """

    digest: Text | None = Field(default=None, min_length=1, max_length=MAX_NAME_CHARS)
    parts: dict[Text, Text] | None = Field(default=None, max_length=MAX_CODE_PARTS)
    synced_by: Text | None = Field(default=None, max_length=MAX_PATH_CHARS)


class AppUpdate(CodeTold):
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


class AppBase(Wire):
    """What is sent to register an app, and answered ever after."""

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


class AppCreate(AppBase, CodeTold):
    pass


class AppOut(AppBase):
    """`version`: the number of the newest; `digest`: of its code, empty where no client told it.

    In the answer to a change that made a version: `changed`, the parts of its code that the one before had
    otherwise, and `restores`, an earlier version that had the same code.
    """

    id: Id
    version: int
    digest: str
    changed: list[str] | None = None
    restores: int | None = None


class PaginatedAppsOut(Wire):
    count: int | None
    results: list[AppOut]


class AppVersionOut(Wire):
    """What a sync has made of an app.

    `changed`: the parts of its code that differ from the version before; None where a client did not tell
    them. `restores`: the newest earlier version that had the same code. `created`: None for what was synced
    before versions were kept.
    """

    number: int
    digest: str
    created: str | None
    synced_by: str | None
    source_code: str
    changed: list[str] | None
    restores: int | None


class AppVersionsOut(Wire):
    """The newest first."""

    count: int
    results: list[AppVersionOut]


class NewestVersionsOut(Wire):
    """(app, number of its newest version) each."""

    versions: list[tuple[int, int]]
