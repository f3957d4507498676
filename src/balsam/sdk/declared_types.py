"""What the signature of a run() declares of its parameters, and text as values of these types.

Text stays as it was typed unless the declared type says otherwise: `1.10` is a version where text is
declared, and a number where a number is.
"""

from __future__ import annotations

import builtins
import collections.abc
import datetime
import decimal
import enum
import inspect
import json
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

MAX_SHOWN = 80  # characters of a value in a sentence
_INT = re.compile(r"[+-]?\d+(_\d+)*")
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NUMBERS = (bool, int, float, complex, decimal.Decimal)
_MANY: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: set,
}
_BY_KEY = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
# What quoted annotations name; an app's class travels without the imports that only they need.
_NAMES = {**vars(builtins), **vars(typing), **vars(collections.abc), **vars(pathlib), **vars(datetime)} | {
    module.__name__: module for module in (typing, pathlib, datetime, decimal, uuid, enum, collections)
}
_NAMES |= {"Decimal": decimal.Decimal, "UUID": uuid.UUID}


class NotOfType(ValueError):
    """Text, or a value, that the declared type does not take; the sentence tells which it takes."""


def of_run(run: Any) -> dict[str, Any]:
    """The declared type of each parameter, else that of its default, else Any."""
    return {
        name: _declared(run, parameter)
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _declared(run: Any, parameter: inspect.Parameter) -> Any:
    kind = parameter.annotation
    if kind is parameter.empty:
        default = parameter.default
        return type(default) if isinstance(default, (str, bool, int, float)) else Any
    names = getattr(inspect.unwrap(run), "__globals__", {})
    for _ in range(2):  # quoted, where all annotations are texts: a text in a text
        if isinstance(kind, str):
            try:
                kind = eval(kind, {**_NAMES, **names})
            except Exception:  # whatever an annotation raises that names what is not here
                return Any
    return kind


def value_of(text: str, kind: Any) -> Any:
    """The text as a value of the declared type; NotOfType with a sentence where it is none."""
    kind = _bare(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if kind is str or kind is object:
        return text
    if kind is Any or isinstance(kind, (typing.TypeVar, str, typing.ForwardRef)):
        return undeclared(text)
    if origin in (Union, types.UnionType):
        return _of_union(text, inner)
    if origin is Literal:
        return _one_of(text, {_literal(one): one for one in inner})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        members: list[Any] = list(kind)
        return _one_of(text, {one.name: one for one in members} | {str(one.value): one for one in members})
    if (origin or kind) in _MANY:
        return _of_list(text, origin or kind, inner)
    if (origin or kind) in _BY_KEY:
        return _of_dict(text, inner)
    return _of_class(text, kind)


def undeclared(text: str) -> Any:
    """What the text says as JSON; the text itself where it is none, or a number written in another way.

    So `3` is a number, and `1.10`, which is not how 1.1 is written, stays what it is.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return text if is_number and repr(value) != text else value


def check(run: Any, given: Mapping[str, Any]) -> None:
    """NotOfType for a text where only numbers or truth values are declared, and that is none."""
    kinds: dict[str, Any] | None = None
    for name, value in given.items():
        if not isinstance(value, str):
            continue
        kinds = of_run(run) if kinds is None else kinds
        if name in kinds and _takes_numbers_only(kinds[name]) and is_declared(run, name):
            try:
                value_of(value, kinds[name])
            except NotOfType as exc:
                raise NotOfType(f"{name!r}: {exc}") from exc


def is_declared(run: Any, name: str) -> bool:
    """Whether the parameter is annotated."""
    return inspect.signature(run).parameters[name].annotation is not inspect.Parameter.empty


def _takes_numbers_only(kind: Any) -> bool:
    kind = _bare(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return all(one is types.NoneType or _takes_numbers_only(one) for one in get_args(kind))
    return kind in _NUMBERS


def _bare(kind: Any) -> Any:
    """Without what only annotates or names a type."""
    if kind is None:
        return types.NoneType
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if isinstance(kind, typing.NewType):
        return _bare(kind.__supertype__)
    if hasattr(kind, "__value__"):  # a name for a type, made by a `type` statement
        return _bare(kind.__value__)
    return kind


def _of_union(text: str, members: tuple[Any, ...]) -> Any:
    kinds = [_bare(one) for one in members]
    if str in kinds:
        return text
    if types.NoneType in kinds and text.lower() in ("null", "none"):
        return None
    others = [one for one in kinds if one is not types.NoneType]
    faults = []
    for one in sorted(
        others, key=lambda one: one is float
    ):  # a whole number is no fraction where both are taken
        try:
            return value_of(text, one)
        except NotOfType as exc:
            faults.append(str(exc))
    raise NotOfType(" and ".join(faults))


def _literal(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _one_of(text: str, known: Mapping[str, Any]) -> Any:
    if text not in known:
        raise NotOfType(f"{_short(text)} is none of {', '.join(known)}")
    return known[text]


def _json(text: str, what: str, example: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise NotOfType(f"{_short(text)} is no {what}: write JSON, such as {example}") from None


def _of_list(text: str, kind: Any, inner: tuple[Any, ...]) -> Any:
    found = _json(text, "list", '["a", "b"]')
    if not isinstance(found, list):
        raise NotOfType(f'{_short(text)} is no list: write JSON, such as ["a", "b"]')
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        if len(found) != len(inner):
            raise NotOfType(f"{_short(text)} has {len(found)} values, and {len(inner)} are declared")
        return tuple(_of_json(value, one) for value, one in zip(found, inner, strict=True))
    return _MANY[kind](_of_json(value, inner[0] if inner else Any) for value in found)


def _of_dict(text: str, inner: tuple[Any, ...]) -> dict[Any, Any]:
    found = _json(text, "dict", '{"a": 1}')
    if not isinstance(found, dict):
        raise NotOfType(f'{_short(text)} is no dict: write JSON, such as {{"a": 1}}')
    keys, values = inner or (Any, Any)
    return {
        (key if keys is Any else value_of(key, keys)): _of_json(value, values) for key, value in found.items()
    }


def _of_json(value: Any, kind: Any) -> Any:
    """A value inside a list or dict: text in quotes is text, and nothing else is."""
    kind = _bare(kind)
    if kind is Any or (value is None and kind in (Any, types.NoneType)):
        return value
    is_text = kind is str or str in get_args(kind)
    if isinstance(value, str):
        return value if is_text else value_of(value, kind)
    if kind is str:
        raise NotOfType(f"{value!r} is no text: write it in quotes, inside the list or dict")
    if is_text:
        return value
    return value_of(json.dumps(value), kind)


def _of_class(text: str, kind: Any) -> Any:
    simple = _SIMPLE.get(kind)
    if simple is not None:
        expected, read = simple
        try:
            return read(text)
        except (ValueError, ArithmeticError):
            raise NotOfType(f"{_short(text)} is no {expected}") from None
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return kind(text)
    return _of_pydantic(text, kind)


def _of_pydantic(text: str, kind: Any) -> Any:
    from pydantic import PydanticUserError, TypeAdapter, ValidationError  # for the rare ones

    try:
        return TypeAdapter(kind).validate_python(undeclared(text))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise NotOfType(f"{_short(text)} is no {getattr(kind, '__name__', kind)}: {first['msg']}") from None
    except (PydanticUserError, TypeError, AttributeError):  # a class of which pydantic knows nothing
        return undeclared(text)


def _short(text: str) -> str:
    return repr(text) if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r} and so on"


def _int(text: str) -> int:
    if not _INT.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def _bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES + _NO:
        raise ValueError(text)
    return word in _YES


def _none(text: str) -> None:
    if text.lower() not in ("null", "none"):
        raise ValueError(text)


def _refuse(name: str) -> typing.NoReturn:
    raise ValueError(f"{name} is not JSON")


_SIMPLE: dict[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("truth value: write true or false", _bool),
    int: ("whole number", _int),
    float: ("number", float),
    complex: ("number", complex),
    types.NoneType: ("null", _none),
    bytes: ("text", str.encode),
    decimal.Decimal: ("number", decimal.Decimal),
    uuid.UUID: ("UUID", uuid.UUID),
    datetime.datetime: ("time, such as 2026-01-31T12:00", datetime.datetime.fromisoformat),
    datetime.date: ("date, such as 2026-01-31", datetime.date.fromisoformat),
    datetime.time: ("time of day, such as 12:00", datetime.time.fromisoformat),
}
