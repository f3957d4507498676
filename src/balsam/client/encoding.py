"""Python values as query parameters and JSON bodies, in the forms that the published client sends."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from balsam.core.clock import UtcDatetime

Pairs = list[tuple[str, str]]
_NO_TEXT = (
    "holds half of a character (a lone surrogate), as names of files give that are no UTF-8, or that this "
    "locale can't read: rename the file, or set LC_ALL to a locale of UTF-8, such as C.UTF-8"
)


def query_pairs(params: Mapping[str, Any] | None) -> Pairs:
    """Key and value pairs of a query: keys repeated for lists and sets, `key:value` for dicts, no Nones.

    ValueError for an empty list or dict: it would vanish from the query, which would then choose more; and
    for what is no text.
    """
    return [
        (key, text)
        for key, value in (params or {}).items()
        if value is not None
        for text in _some_texts(key, value)
    ]


def _some_texts(key: str, value: Any) -> list[str]:
    texts = _texts(value)
    for text in texts:
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError(f"{key!r} of a query {_NO_TEXT}")
    if not texts:
        raise ValueError(f"{key!r} of a query is empty: leave it out, or do not ask for what matches nothing")
    return texts


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}:{_text(inner)}" for key, inner in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_text(inner) for inner in value]
    return [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime.datetime):
        return UtcDatetime.of(value).isoformat()
    return str(value)


def json_body(body: Any) -> bytes:
    """UTF-8 JSON; raises TypeError that names the type which JSON does not know, and ValueError for
    what is no text.
    """
    try:
        return orjson.dumps(body, _jsonable, orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError as exc:
        if "surrogates" in str(exc):
            raise ValueError(f"what is to be sent {_NO_TEXT}") from exc
        raise TypeError(f"can't be sent as JSON: {exc.__cause__ or exc}") from exc


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return UtcDatetime.of(value).isoformat()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (PurePath, UUID)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")
