"""Many rows as few lists: the database writes each column as JSON, which is parsed at once.

Drivers make an object for each value and a tuple for each row; for a million rows that takes longer than all
that is done with them.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select


def columns(conn: Connection, stmt: Select[Any]) -> list[list[Any]]:
    """The statement's columns, each a list; the rows are in no order. Numbers, texts and None."""
    rows = stmt.subquery()
    together = select(*(_list(conn, column) for column in rows.c))
    return [_parsed(text) for text in conn.execute(together).one()]


def columns_by(conn: Connection, stmt: Select[Any], keys: int) -> dict[tuple[Any, ...], list[list[Any]]]:
    """The same for each combination of the first `keys` columns."""
    rows = stmt.subquery()
    group, values = list(rows.c)[:keys], list(rows.c)[keys:]
    together = select(*group, *(_list(conn, column) for column in values)).group_by(*group)
    return {tuple(row[:keys]): [_parsed(text) for text in row[keys:]] for row in conn.execute(together)}


def _list(conn: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if conn.dialect.name == "sqlite":
        return func.json_group_array(column)
    text = cast(func.to_json(column), Text) if isinstance(column.type, Text) else cast(column, Text)
    return func.string_agg(func.coalesce(text, "null"), ",")


def _parsed(text: str | None) -> list[Any]:
    if text is None:
        return []
    return list(orjson.loads(text if text.startswith("[") else f"[{text}]"))
