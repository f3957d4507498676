"""An object on the server, held by the user: typed fields, `save()` of what changed, one client for life."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from balsam.client.errors import NotFoundError
from balsam.schemas.json_tree import NotJson
from balsam.sdk.context import default_client
from balsam.sdk.fields import CREATE, READ, UPDATE, Field, WrongType
from balsam.sdk.spelling import is_near, reject_unknown, unknown

if TYPE_CHECKING:
    from balsam.client.transport import Client


class DoesNotExist(Exception):
    """No object matches; the same class as `Job.DoesNotExist`, `Site.DoesNotExist` and so on."""


class NotSaved(DoesNotExist, AttributeError):
    """An object that the server does not know; an AttributeError, too, as in release 0.7."""


class MultipleObjectsReturned(Exception):
    """More than one object matches where one was asked for."""


class Model:
    """What Job, Site and the others have in common.

    Fields are decoded from the server's row when they are first touched, and live in the instance's
    `__dict__` from then on; `save()` compares those with the row, so a dict that was changed in place is
    noticed.
    """

    ROUTE: ClassVar[str]  # of the collection, e.g. "/jobs/"
    FIELDS: ClassVar[dict[str, Field]]
    UPDATABLE: ClassVar[bool] = True  # whether the server has a PUT for one of them
    DELETABLE: ClassVar[bool] = True
    DoesNotExist = DoesNotExist
    MultipleObjectsReturned = MultipleObjectsReturned

    id: int  # None until saved; declared as what it is for everybody else

    _is_deleted: bool = False

    def __init__(self, **fields: Any) -> None:
        creatable = [name for name, field in self.FIELDS.items() if field.use & CREATE]
        reject_unknown(type(self).__name__, fields, creatable)
        self._row: dict[str, Any] = {}
        self._client: Client | None = None
        for name, value in fields.items():
            if value is not None:  # None: the default
                setattr(self, name, value)

    @classmethod
    def from_row(cls, row: dict[str, Any], client: Client) -> Self:
        """The instance of a row that the server answered; it acts through `client` ever after."""
        instance = cls.__new__(cls)
        instance._client = client
        instance._load(row)
        return instance

    @property
    def is_saved(self) -> bool:
        """Whether the server knows this object."""
        return bool(self._row) and not self._is_deleted

    def client(self) -> Client:
        """The client that this object came from, or will be saved through."""
        if self._client is None:
            self._client = default_client()
        return self._client

    def save(self) -> None:
        """Creates the object, or sends the fields that changed since it was loaded; else does nothing.

        Nor for one that was deleted: it does not come back.
        """
        if self._is_deleted:
            return
        if not self.is_saved:
            self._create()
        elif changed := self.changed():
            try:
                self._update(changed)
            except NotFoundError as exc:
                name = f"{type(self).__name__} {self.id}"
                raise DoesNotExist(f"{name} does not exist (any more): it can't be changed") from exc

    def delete(self) -> None:
        """Deletes the object on the server; its `id` is None then, and its other fields stay as they are."""
        if not self.DELETABLE:
            self._has_no_route("deleted")
        self._must_be_saved("delete")
        self.client().delete(f"{self.ROUTE}{self.id}")
        self._is_deleted = True
        self._row = {**self._row, "id": None}
        self.__dict__["id"] = None

    def refresh_from_db(self) -> None:
        """Loads all fields anew; what was set and not saved is lost. Raises DoesNotExist."""
        self._must_be_saved("refresh")
        rows = self.client().get(self.ROUTE, {"id": self.id, "count": "no", "limit": 1})["results"]
        if not rows:
            raise DoesNotExist(f"{type(self).__name__} {self.id} does not exist (any more)")
        self._load(rows[0])

    def changed(self) -> dict[str, Any]:
        """Names and JSON values of the fields that `save()` would send."""
        return {
            name: value
            for name, field in self.FIELDS.items()
            if name in self.__dict__ and field.use & UPDATE
            for value in [self._written(name, self.__dict__[name])]
            if value != field.write(field.load(self._row.get(name, field.default)))
        }

    def display_dict(self) -> dict[str, Any]:
        """All fields that can be read, as JSON-like values."""
        return {
            name: field.write(getattr(self, name)) for name, field in self.FIELDS.items() if field.use & READ
        }

    def display_model(self) -> str:
        """The fields that can be read, as YAML; serialized payloads, which nobody reads, are left out."""
        import yaml  # which few scripts need

        told = {name: value for name, value in self.display_dict().items() if _is_shown(name)}
        # An app's class that stands for its id, before the job is saved, is no JSON.
        shown = json.loads(json.dumps(told, default=str))
        text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)
        return text.rstrip("\n")

    def creation_body(self) -> dict[str, Any]:
        """What is sent to create this object."""
        fields = self.FIELDS
        return {
            name: self._written(name, value)
            for name, value in self.__dict__.items()
            if name in fields and fields[name].use & CREATE
        }

    def _create(self) -> None:
        self._load(self.client().post(self.ROUTE, self.creation_body()))

    def _update(self, changed: dict[str, Any]) -> None:
        if not self.UPDATABLE:
            self._has_no_route("updated")
        self._load(self.client().put(f"{self.ROUTE}{self.id}", changed))

    def _load(self, row: dict[str, Any]) -> None:
        self._row = row
        fields = self.FIELDS
        for name in [name for name in self.__dict__ if name in fields]:
            del self.__dict__[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        field = self._settable(name)
        if field is None:
            object.__setattr__(self, name, value)
            return
        try:
            self.__dict__[name] = field.read(value)
        except (ValueError, TypeError, AttributeError) as exc:
            raise wrong_value(type(self), name, value, exc) from exc

    def _written(self, name: str, value: Any) -> Any:
        """A field's JSON; what was put into a dict or list since it was set is looked at only here."""
        try:
            return self.FIELDS[name].write(value)
        except (NotJson, WrongType) as exc:
            raise wrong_value(type(self), name, value, exc) from exc

    def _settable(self, name: str) -> Field | None:
        """The field of this name; None for a note of the user's own, which stays in this process.

        AttributeError for a field that can't be set now, and for a name that only misspells one.
        """
        field = self.FIELDS.get(name)
        if field is None:
            if is_near(name, self.FIELDS):
                raise AttributeError(unknown(type(self).__name__, name, self.FIELDS))
            return None
        if not field.use & (UPDATE if self.is_saved else CREATE):
            when = "after it is created" if self.is_saved else "before it is saved"
            raise AttributeError(f"{type(self).__name__}.{name} can't be set {when}")
        return field

    if not TYPE_CHECKING:  # the annotations of each model tell a type checker what is there

        def __getattr__(self, name: str) -> Any:
            field = self.FIELDS.get(name)
            if field is None:
                raise AttributeError(unknown(type(self).__name__, name, self.FIELDS))
            value = field.load(self.__dict__.get("_row", {}).get(name, field.default))
            self.__dict__[name] = value
            return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.FIELDS})

    def __repr__(self) -> str:
        fields = {
            name: getattr(self, name)
            for name, field in self.FIELDS.items()
            if _is_shown(name) and (field.use & READ or name in self.__dict__)
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    def __str__(self) -> str:
        return self.display_model()

    SHOWN: ClassVar[tuple[str, ...]] = ("id",)
    COLUMNS: ClassVar[tuple[str, ...]] = ()  # of a notebook's table; without any, SHOWN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model) or not (self.is_saved and other.is_saved):
            return self is other
        mine = (type(self), self.id, self.client().api_root)
        return mine == (type(other), other.id, other.client().api_root)

    def __hash__(self) -> int:
        if not self.is_saved:
            raise TypeError(f"a {type(self).__name__} that is not saved has no id to be hashed by")
        return hash((type(self), self.id))

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles hold no connection: what is unpickled uses the default client there."""
        return {**self.__dict__, "_client": None}

    def _must_be_saved(self, verb: str) -> None:
        if not self.is_saved:
            how = "was deleted" if self._is_deleted else "was never saved"
            raise NotSaved(f"can't {verb} a {type(self).__name__} that {how}")

    def _has_no_route(self, participle: str) -> NoReturn:
        raise NotImplementedError(f"a {type(self).__name__} can't be {participle} through the API")


def _is_shown(name: str) -> bool:
    return not name.startswith("serialized_")


def update_body(model: type[Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of an update of many by query; TypeError for a field that can't be updated."""
    known = [name for name, field in model.FIELDS.items() if field.use & UPDATE]
    reject_unknown(f"{model.__name__}.update()", values, known)
    body = {}
    for name, value in values.items():
        field = model.FIELDS[name]
        try:
            body[name] = field.write(field.read(value))
        except (ValueError, TypeError, AttributeError) as exc:
            raise wrong_value(model, name, value, exc) from exc
    return body


def wrong_value(model: type[Model], name: str, value: Any, exc: Exception) -> Exception:
    """The error for a value that a field can't hold: it names the field and, inside a dict, the place."""
    if isinstance(exc, NotJson):
        text = str(exc)
        return WrongType(f"{model.__name__}.{name}{'' if text.startswith('[') else ': '}{text}")
    error = WrongType if isinstance(exc, TypeError) else ValueError
    return error(f"{model.__name__}.{name} can't be {value!r}: {exc}")
