"""Values that JSON and both databases give back as they were; anything else is refused where it is given.

Silently changed values are the worst ones: a tuple that comes back as a list, NaN that comes back as None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

from balsam.core.limits import MAX_ID

MAX_DEPTH = 50
_SAFE = frozenset({type(None), bool})
# What to write in place of a value of these types; of the first that fits.
_INSTEAD: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (tuple, "write list(...) for it"),
    ((set, frozenset), "write sorted(...) for it"),
    ((date, time), "write .isoformat() for it"),
    (timedelta, "write .total_seconds() for it"),
    (Decimal, "write str(...) or float(...) for it"),
    (PurePath, "write str(...) for it"),
    ((bytes, bytearray, memoryview), "write .decode() or .hex() for it"),
    (complex, "write [z.real, z.imag] for it"),
    (Enum, "write its .value"),
)


class NotJson(TypeError, ValueError):
    """A value that JSON can't carry unchanged; the sentence has its place and what to write instead."""


def as_tree(value: Any, place: str = "", depth: int = 0) -> Any:
    """A copy of text, numbers, None, lists and dicts with text keys; NotJson names the place of anything
    else.

    Subclasses and numpy's numbers become the plain values that they equal.
    """
    kind = type(value)
    if kind in _SAFE:
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        if not -MAX_ID - 1 <= value <= MAX_ID:
            raise NotJson(f"{_at(place)}holds a number of more than 64 bits: write str(...) for it")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(
                f"{_at(place)}holds {value!r}, a number that is not finite, which JSON has no word for: "
                f'write None or the text "{float(value)!r}" for it'
            )
        return float(value)
    if depth > MAX_DEPTH:
        raise NotJson(f"{_at(place)}is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list):
        return [as_tree(inner, f"{place}[{number}]", depth + 1) for number, inner in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            _key(key, place): as_tree(inner, f"{place}[{key!r}]", depth + 1) for key, inner in value.items()
        }
    return _of_array(value, place, depth)


def _text(text: str, place: str) -> str:
    plain = str(text.value) if isinstance(text, Enum) else str.__str__(text)
    if "\x00" in plain:
        raise NotJson(f"{_at(place)}must not hold a NUL character")
    if not plain.isascii() and any("\ud800" <= char <= "\udfff" for char in plain):
        raise NotJson(
            f"{_at(place)}must be valid Unicode (a lone surrogate was found, as in names of files that are "
            'no UTF-8: write .encode(errors="surrogateescape").hex() for it)'
        )
    return plain


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise NotJson(
            f"{_at(place)}has the key {key!r} of type {type(key).__name__}, and JSON has keys of text only: "
            "write str(...) for it"
        )
    return _text(key, f"{place}: the key {key!r}")


def _of_array(value: Any, place: str, depth: int) -> Any:
    """The number of a numpy scalar; whole arrays and all else are refused."""
    item: Callable[[], Any] | None = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == () and type(plain := item()) is not type(value):
        return as_tree(plain, place, depth + 1)
    instead = next((text for kinds, text in _INSTEAD if isinstance(value, kinds)), "")
    if not instead:
        has_list = callable(getattr(value, "tolist", None))
        instead = "write .tolist() for it" if has_list else "write text, numbers, lists or dicts for it"
    raise NotJson(
        f"{_at(place)}holds a {type(value).__name__}, which JSON can't carry as what it is: {instead}"
    )


def _at(place: str) -> str:
    return f"{place} " if place else ""
