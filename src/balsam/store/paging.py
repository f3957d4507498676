"""Pages by key: each page continues after the last row of the one before, however deep."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, Text, and_, func, literal_column, or_, select

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
    # The first condition follows from the second, and lets an index be entered at the cursor.
    if descending:
        return and_(column <= value, or_(column < value, key < row_id))
    return and_(column >= value, or_(column > value, key > row_id))


def counted(conn: Connection, rows: Select[Any], limit: int | None) -> int:
    """How many rows a statement has; more than `limit` are counted as one more than that."""
    # Without any column of theirs, or indexes would not be enough.
    if limit is None:
        return int(
            conn.execute(rows.with_only_columns(func.count(), maintain_column_froms=True)).scalar_one()
        )
    some: Select[Any] = rows.with_only_columns(literal_column("1").label("one"), maintain_column_froms=True)
    stmt = select(func.count()).select_from(some.limit(limit + 1).subquery())
    return conn.execute(stmt).scalar_one()


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
    return cursor_behind(rows[-1], page) if rows and len(rows) >= page.limit else None


def cursor_behind(row: Mapping[str, Any], page: Page) -> str:
    """The cursor behind a row, of which the order's raw value and the id are enough."""
    # What has no value yet is ordered as 0: see `store.batch_jobs.page`.
    return encode_cursor(row[page.column] or 0, row["id"])
