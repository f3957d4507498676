"""What a validation found wrong, as sentences for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from balsam.schemas.field_errors import sentence

PLACES = ("body", "query", "path", "header")


def sentences(detail: Iterable[Any], num_items: int = 1) -> str:
    """The server's list of `{loc, msg}` as one text; `num_items`: how many objects the request held."""
    return "; ".join(_of_item(item, num_items) for item in detail)


def _of_item(item: Any, num_items: int) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    location, message = list(item.get("loc", ())), str(item.get("msg", item))
    if location and location[0] in PLACES:
        location = location[1:]
    if not location or not isinstance(location[0], int):
        return sentence(location, message)
    index, *field = location
    return f"item {index}: {sentence(field, message)}" if num_items > 1 else sentence(field, message)
