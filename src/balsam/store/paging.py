"""Pages by key: each page continues after the last row of the one before, however deep."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, Text, and_, or_

from balsam.core.errors import Invalid
from balsam.core.limits import MAX_ID


@dataclass(frozen=True, slots=True)
class Page:
    """`order`: a column's name, `-` before it for descending; `after`: the cursor of the page before."""

    limit: int = 100_000
    offset: int = 0
    order: str = "id"
    after: str | None = None

    @property
    def column(self) -> str:
        return self.order.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.order.startswith("-")


def paged(stmt: Select[Any], page: Page, column: ColumnElement[Any], key: ColumnElement[int]) -> Select[Any]:
    """Orders by the column, then by id in the same direction, so that every order is total."""
    stmt = stmt.order_by(column.desc() if page.descending else column.asc())
    if column is not key:
        stmt = stmt.order_by(key.desc() if page.descending else key.asc())
    if page.after is not None:
        value, row_id = decode_cursor(page.after)
        if isinstance(value, str) != isinstance(column.type, Text):
            raise Invalid("`after` is a cursor of another ordering: send the `next` of the page before")
        stmt = stmt.where(_beyond(column, key, value, row_id, page.descending))
    return stmt.limit(page.limit).offset(page.offset or None)


def _beyond(
    column: ColumnElement[Any], key: ColumnElement[int], value: Any, row_id: int, descending: bool
) -> ColumnElement[bool]:
    if column is key:
        return key < row_id if descending else key > row_id
    further = column < value if descending else column > value
    tie = key < row_id if descending else key > row_id
    return or_(further, and_(column == value, tie))


def encode_cursor(value: Any, row_id: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([value, row_id])).decode()


def decode_cursor(cursor: str) -> tuple[Any, int]:
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError:
        decoded = None
    match decoded:
        case [int() | str() as value, int() as row_id] if _fits(value) and _fits(row_id):
            return value, row_id
    raise Invalid("`after` is no cursor of this server: send the `next` of the page before")


def _fits(value: int | str) -> bool:
    return isinstance(value, str) or (type(value) is int and abs(value) <= MAX_ID)


def next_cursor(rows: list[dict[str, Any]], page: Page) -> str | None:
    """The cursor behind a full page, None behind the last one. `rows` hold the order's raw values."""
    if len(rows) < page.limit or not rows:
        return None
    # What has no value yet is ordered as 0: see `store.batch_jobs.page`.
    return encode_cursor(rows[-1][page.column] or 0, rows[-1]["id"])
