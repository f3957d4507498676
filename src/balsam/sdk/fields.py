"""What a model's fields are: when each may be set, and how it looks in JSON and in Python."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from balsam.core.clock import UtcDatetime

# When a field may be given or got: at creation, in a later `save()`, in what the server answers. Plain
# numbers, since submitting a hundred thousand jobs asks millions of times.
CREATE, UPDATE, READ = 1, 2, 4
FULL = CREATE | UPDATE | READ
IDS_EXPECTED = "jobs or their ids are expected, such as [1, 2] or {job}"


@dataclass(frozen=True)
class Kind:
    """`to_python` takes JSON or what a user assigns, and copies what is mutable; `to_json` is its inverse."""

    to_python: Callable[[Any], Any]
    to_json: Callable[[Any], Any]


@dataclass(frozen=True)
class Field:
    """One field of a model; `default` is in JSON form, for instances that are not saved yet."""

    use: int
    kind: Kind
    default: Any = None

    def read(self, value: Any) -> Any:
        return None if value is None else self.kind.to_python(value)

    def write(self, value: Any) -> Any:
        return None if value is None else self.kind.to_json(value)


def _same(value: Any) -> Any:
    return value


def _time(value: str | datetime) -> UtcDatetime:
    return UtcDatetime.parse(value) if isinstance(value, str) else UtcDatetime.of(value)


def _time_text(value: datetime) -> str:
    return UtcDatetime.of(value).isoformat()


class WrongType(TypeError, ValueError):
    """A value of another type than the field's."""


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongType('a dict is expected, such as {"key": "value"}')
    return {str(key): str(inner) for key, inner in value.items()}


def _ids(value: Any) -> set[int]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise WrongType(IDS_EXPECTED)
    return {item if isinstance(item, int) else _id_of(item) for item in value}


def _id_of(item: Any) -> int:
    if not hasattr(item, "id"):
        raise WrongType(IDS_EXPECTED)
    if item.id is None:
        raise ValueError(f"{item!r} is not saved yet, so it has no id: save it first")
    return int(item.id)


PLAIN = Kind(_same, _same)
PATH = Kind(Path, str)
TIME = Kind(_time, _time_text)
TAGS = Kind(_tags, _tags)
TREE = Kind(copy.deepcopy, _same)  # a dict of anything JSON
IDS = Kind(_ids, sorted)  # accepts saved objects in place of their ids
UUIDS = Kind(lambda value: value if isinstance(value, UUID) else UUID(value), str)


def enum(members: type[Enum]) -> Kind:
    """A string enum; its values are taken as text too, as are members of its name by another route."""
    return Kind(members, lambda value: members(value).value)


def schema(shape: Any) -> Kind:
    """Anything that pydantic knows: e.g. `schema(dict[str, AppParameter])`."""

    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(shape)

    def to_python(value: Any) -> Any:
        try:
            return adapter().validate_python(copy.deepcopy(value))
        except ValidationError as exc:
            first = exc.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}") from exc

    return Kind(to_python, lambda value: adapter().dump_python(adapter().validate_python(value), mode="json"))
