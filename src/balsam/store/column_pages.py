"""Pages of lists as columns: the database writes each as JSON, and nobody looks at a single value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    select,
)

MAX_WHOLE = 1e15  # larger ones are written with an exponent


@dataclass(frozen=True, slots=True)
class ColumnPage:
    """`texts`: a JSON array for each column, in the order of the page. `last`: what a cursor needs."""

    texts: dict[str, str]
    length: int
    last: dict[str, Any]

    def __len__(self) -> int:
        return self.length


def as_columns(names: Sequence[str], order: str) -> Callable[[Connection, Select[Any]], ColumnPage]:
    """How to read a page's statement: these columns of its table, as it is ordered by `order` and the id."""

    def read(conn: Connection, stmt: Select[Any]) -> ColumnPage:
        wanted = list(dict.fromkeys((*names, order, "id")))
        chosen = [stmt.selected_columns[name] for name in wanted]
        rows = stmt.with_only_columns(*chosen, maintain_column_froms=True).subquery()
        # Aggregates take rows as they come: from a subquery that is sorted and limited, in its order.
        together = select(func.count(), *(_array(conn, rows.c[name]) for name in wanted))
        length, *texts = conn.execute(together).one()
        if conn.dialect.name != "sqlite":
            texts = [f"[{text or ''}]" for text in texts]
        columns = dict(zip(wanted, texts, strict=True))
        last = {name: orjson.loads(columns[name])[-1] for name in {order, "id"}} if length else {}
        return ColumnPage({name: columns[name] for name in names}, length, last)

    return read


def _array(conn: Connection, column: ColumnElement[Any]) -> ColumnElement[str]:
    if conn.dialect.name == "sqlite":
        return func.json_group_array(_of_sqlite(column))
    return func.string_agg(func.coalesce(_of_postgresql(column), "null"), ",")


def _of_sqlite(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, JSON):
        return func.json(cast(column, Text))
    if isinstance(column.type, Boolean):
        return func.json(case((column, "true"), (~column, "false")))
    return column


def _of_postgresql(column: ColumnElement[Any]) -> ColumnElement[Any]:
    text = cast(column, Text)
    if isinstance(column.type, Text):
        return cast(func.to_json(column), Text)
    if isinstance(column.type, Float):  # whose text is an integer's where there is no fraction
        is_whole = and_(func.abs(column) < MAX_WHOLE, column == func.trunc(column))
        return case((is_whole, func.concat(text, ".0")), else_=text)
    return text
