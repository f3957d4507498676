"""Bulk updates item by item: one that is not valid does not keep the others from being applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError, ValidatorFunctionWrapHandler

from balsam.core.cutting import without_middle
from balsam.core.errors import Invalid
from balsam.schemas.field_errors import sentence
from balsam.schemas.types import Id

T = TypeVar("T")
# Proxies take one page of headers; the number of the refused ones follows from the count.
MAX_HEADER_CHARS = 3_500
MAX_REASON_CHARS = 300
_ID: TypeAdapter[int] = TypeAdapter(Id)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Stands in the place of an item that is not valid."""

    id: int
    reason: str


def or_rejected(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """For pydantic's WrapValidator: the valid item, or its Rejected; one without an id spoils the request."""
    try:
        return validate(value)
    except ValidationError as exc:
        try:
            item_id = _ID.validate_python(value["id"])
        except (ValidationError, TypeError, KeyError):
            raise exc from None
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        return Rejected(item_id, sentence(first["loc"], first["msg"]))


def split(items: Sequence[T]) -> tuple[list[T], list[tuple[int, str]]]:
    """The valid ones, and (id, reason) of the others."""
    rejected = [(item.id, item.reason) for item in items if isinstance(item, Rejected)]
    if not rejected:
        return list(items), []
    return [item for item in items if not isinstance(item, Rejected)], rejected


def named(refused: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """As many as a header takes, with as much of their reasons."""
    first: list[tuple[int, str]] = []
    room = MAX_HEADER_CHARS
    for item_id, reason in refused:
        first.append((item_id, without_middle(reason, MAX_REASON_CHARS)))
        room -= len(json.dumps(first[-1])) + 2
        if room < 0:
            return first[:-1]
    return first


def require_some(applied: int, refused: Sequence[Sequence[Any]], *, lenient: bool) -> None:
    """Raises Invalid with the first reason where none was applied, but to who reads what was refused."""
    if refused and not applied and not lenient:
        item_id, reason = refused[0][-2:]
        raise Invalid(f"nothing could be changed: {item_id}: {reason}")


def header(refused: Sequence[Sequence[Any]]) -> dict[str, str] | None:
    """The header that names the refused ones, if there are any."""
    return {"balsam-refused": json.dumps(refused)} if refused else None
