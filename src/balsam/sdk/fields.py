"""What a model's fields are: when each may be set, and how it looks in JSON and in Python."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from functools import cache
from numbers import Number
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from balsam.core.clock import UtcDatetime
from balsam.schemas.json_tree import as_tree

# When a field may be given or got: at creation, in a later `save()`, in what the server answers. Plain
# numbers, since submitting a hundred thousand jobs asks millions of times.
CREATE, UPDATE, READ = 1, 2, 4
FULL = CREATE | UPDATE | READ
IDS_EXPECTED = "jobs or their ids are expected, such as [1, 2] or {job}"


@dataclass(frozen=True)
class Kind:
    """`to_python` takes what a user assigns, or JSON, and copies what is mutable; `to_json` is its inverse.

    `of_row`: in place of `to_python` for what the server answers, where that may be what nobody may assign.
    """

    to_python: Callable[[Any], Any]
    to_json: Callable[[Any], Any]
    of_row: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Field:
    """One field of a model; `default` is in JSON form, for instances that are not saved yet."""

    use: int
    kind: Kind
    default: Any = None

    def read(self, value: Any) -> Any:
        return None if value is None else self.kind.to_python(value)

    def load(self, value: Any) -> Any:
        """The value of a server's row."""
        return None if value is None else (self.kind.of_row or self.kind.to_python)(value)

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


_AS_TEXT = (str, Number, Enum, PurePath, UUID, date)  # what has one obvious text


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongType('a dict is expected, such as {"key": "value"}')
    return {_tag_text(key, key): _tag_text(key, inner) for key, inner in value.items()}


def _tag_text(key: object, value: Any) -> str:
    if not isinstance(value, _AS_TEXT):
        raise WrongType(f"the value of {key!r} is a {type(value).__name__}, and is to be a text or a number")
    text = str(value.value if isinstance(value, Enum) else value)
    if not (text.isascii() and text.isprintable()):
        as_tree(text, f"the value of {key!r}")
    return text


def _path(value: Any) -> Path:
    path = Path(value)
    as_tree(str(path), "a path")
    return path


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongType('a dict is expected, such as {"key": "value"}')
    tree: dict[str, Any] = as_tree(value)
    return tree


def _ids(value: Any) -> set[int]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise WrongType(IDS_EXPECTED)
    return {item if isinstance(item, int) else _id_of(item) for item in value}


def _id_of(item: Any) -> int:
    if not hasattr(item, "id"):
        raise WrongType(IDS_EXPECTED)
    if item.id is None:
        name = type(item).__name__
        raise ValueError(f"a {name} among them is not saved yet, so it has no id: save it first")
    return int(item.id)


PLAIN = Kind(_same, _same)
PATH = Kind(_path, str)
TIME = Kind(_time, _time_text)
TAGS = Kind(_tags, _tags)
TREE = Kind(as_tree, as_tree, copy.deepcopy)  # anything JSON
OBJECT = Kind(_object, _object, copy.deepcopy)  # a dict of anything JSON
IDS = Kind(_ids, sorted)  # accepts saved objects in place of their ids
UUIDS = Kind(lambda value: value if isinstance(value, UUID) else UUID(value), str)


def whole(least: int, most: int = 2**31 - 1) -> Kind:
    """An integer in these bounds: no truth value, no text, no fraction."""

    def read(value: Any) -> int:
        if type(value) is int and least <= value <= most:
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # numpy's and pandas' whole numbers among them
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise WrongType(f"a whole number is expected, {_bounds(least, most)}")
        number = operator.index(value)
        if not least <= number <= most:
            raise WrongType(f"a whole number is expected, {_bounds(least, most)}")
        return number

    return Kind(read, _same, _same)


def fraction(least: float, most: float) -> Kind:
    """A number in these bounds."""

    def read(value: Any) -> float:
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
            raise WrongType(f"a number is expected, {_bounds(least, most)}")
        number = float(value)
        if math.isnan(number) or not least <= number <= most:
            raise WrongType(f"a number is expected, {_bounds(least, most)}")
        return number

    return Kind(read, _same, _same)


def _bounds(least: float, most: float) -> str:
    return f"from {least:,} to {most:,}"


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
