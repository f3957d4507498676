"""Many rows in one statement, as fast as the drivers take them.

COPY and unnest on PostgreSQL, executemany on SQLite: SQLAlchemy would spend more time on each value than the
database does. Rows come as columns: a name and one value a row, all of one length. JSON columns hold any JSON
value; None is NULL. Names of tables and columns come from `store.tables`, never from a request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import is_
from typing import Any, cast

import orjson
import psycopg
from sqlalchemy import JSON, Boolean, ColumnElement, Connection, Result, Select, Table, Text, bindparam, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator

Columns = Mapping[str, Sequence[Any]]
_BOOLEAN = Boolean()
ROWS_PER_BLOCK = 500
_COPY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_COPY_ESCAPE_TABLE = str.maketrans(_COPY_ESCAPES)


def insert_columns(conn: Connection, table: Table, columns: Columns) -> None:
    """One row for each place in the columns."""
    if not next(iter(columns.values())):
        return
    insert_blocks(conn, table, columns.keys(), _blocks(columns))


def insert_blocks(conn: Connection, table: Table, names: Collection[str], blocks: Iterable[Columns]) -> None:
    """The same with some rows at a time, none of which is empty; all blocks have the columns of `names`.

    PostgreSQL inserts one while the next is made.
    """
    quoted = ", ".join(f'"{name}"' for name in names)
    if conn.dialect.name == "sqlite":
        statement = f"INSERT INTO {table.name} ({quoted}) VALUES ({', '.join('?' * len(names))})"
        # At once: SQLite works in this thread, so that blocks would only cost.
        conn.exec_driver_sql(statement, [row for block in blocks for row in _rows(table, block)])
    else:
        texts = (_copy_text(table, block) for block in blocks)
        _copy(conn, f"COPY {table.name} ({quoted}) FROM STDIN", texts)


def _blocks(columns: Columns) -> Iterator[Columns]:
    for start in range(0, len(next(iter(columns.values()))), ROWS_PER_BLOCK):
        some = slice(start, start + ROWS_PER_BLOCK)
        yield {name: values[some] for name, values in columns.items()}


def _copy(conn: Connection, statement: str, texts: Iterable[str]) -> None:
    """SQLAlchemy knows no COPY; whatever fails is raised as one of its errors all the same."""
    driver: Any = conn.connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for part in texts:
                copy.write(part)
    except psycopg.Error as exc:
        raise DBAPIError.instance(
            statement, None, exc, psycopg.Error, True, driver.dbapi_connection.broken, conn.dialect
        ) from exc


def _copy_text(table: Table, columns: Columns) -> str:
    """Rows in COPY's text format, made column by column: psycopg looks at each value by itself."""
    fields = [_copy_fields(table, name, values) for name, values in columns.items()]
    return "\n".join(map("\t".join, zip(*fields, strict=True))) + "\n"


def _copy_fields(table: Table, name: str, values: Sequence[Any]) -> Sequence[str]:
    if all(map(is_, values, repeat(values[0]))):  # one object, not equal ones: 1 is True's equal
        return _each_copy_field(table, name, values[:1]) * len(values)
    return _each_copy_field(table, name, values)


def _each_copy_field(table: Table, name: str, values: Sequence[Any]) -> list[str]:
    text_of = json_text if isinstance(table.c[name].type, JSON) else str
    texts = list(map(text_of, values))
    together = "".join(texts)
    if any(char in together for char in _COPY_ESCAPES):
        texts = [text.translate(_COPY_ESCAPE_TABLE) for text in texts]
    if None in values:
        texts = ["\\N" if value is None else text for value, text in zip(values, texts, strict=True)]
    return texts


def update_columns(
    conn: Connection,
    table: Table,
    columns: Columns,
    *,
    key: str,
    match: Mapping[str, int],
    unless_set: str | None = None,
) -> None:
    """Sets all columns but `key` in the rows that `key` names.

    Only where the columns of `match` have its values, and the column `unless_set` is NULL.
    """
    if not columns[key]:
        return
    null = f' AND {table.name}."{unless_set}" IS NULL' if unless_set else ""
    if conn.dialect.name == "sqlite":
        _update_each(conn, table, columns, key, match, null)
    else:
        _update_from_arrays(conn, table, columns, key, match, null)


def _update_each(
    conn: Connection, table: Table, columns: Columns, key: str, match: Mapping[str, int], null: str
) -> None:
    names = [name for name in columns if name != key]
    changes = ", ".join(f'"{name}" = ?' for name in names)
    # Unary plus: compared, not searched by; see `store.owner.checked`.
    matches = "".join(f" AND +{name} = ?" for name in match)
    rows = _rows(table, {name: columns[name] for name in (*names, key)})
    owned = tuple(match.values())
    conn.exec_driver_sql(
        f"UPDATE {table.name} SET {changes} WHERE {key} = ?{matches}{null}", [row + owned for row in rows]
    )


def _update_from_arrays(
    conn: Connection, table: Table, columns: Columns, key: str, match: Mapping[str, int], null: str
) -> None:
    changes, constants = [], []
    arrays = {key: list(columns[key])}
    for name, column in columns.items():
        if name == key:
            continue
        cast, values = _sql_type(table, name), list(_for_driver(table, name, column))
        if values.count(values[0]) == len(values):  # what is the same for all is sent once
            changes.append(f'"{name}" = %s::{cast}')
            constants.append(values[0])
        else:
            changes.append(f'"{name}" = new."{name}"::{cast}')
            arrays[name] = values
    unnest = ", ".join(f"%s::{_array_type(table, name)}[]" for name in arrays)
    aliases = ", ".join(f'"{name}"' for name in arrays)
    matches = "".join(f" AND {table.name}.{name} = %s" for name in match)
    statement = (
        f"UPDATE {table.name} SET {', '.join(changes)} FROM unnest({unnest}) AS new({aliases}) "
        f"WHERE {table.name}.{key} = new.{key}{matches}{null}"
    )
    conn.exec_driver_sql(statement, (*constants, *arrays.values(), *match.values()))


def _rows(table: Table, columns: Columns) -> list[tuple[Any, ...]]:
    return list(zip(*(_for_driver(table, name, values) for name, values in columns.items()), strict=True))


def _for_driver(table: Table, name: str, values: Sequence[Any]) -> Sequence[Any]:
    kind = table.c[name].type
    if isinstance(kind, JSON):
        return [None if value is None else json_text(value) for value in values]
    if isinstance(kind, Text):  # members of enums are texts of their own kind, which drivers take slowly
        return [value if type(value) is str or value is None else str(value) for value in values]
    return values


def json_text(value: Any) -> str:
    """A JSON column's text; SQL's NULL is no JSON."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


_SQL_TYPES = {"BIGINT": "bigint", "INTEGER": "integer", "TEXT": "text", "BOOLEAN": "boolean", "JSON": "jsonb"}


def _sql_type(table: Table, name: str) -> str:
    return _SQL_TYPES.get(str(table.c[name].type), "double precision")


def _array_type(table: Table, name: str) -> str:
    kind = _sql_type(table, name)
    return "text" if kind == "jsonb" else kind


def columns_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Columns:
    """Rows that are dicts, as columns."""
    return {name: [row[name] for row in rows] for name in names}


def dicts(result: Result[Any]) -> list[dict[str, Any]]:
    """The rows of a result as dicts."""
    names = list(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]


def read_dicts(conn: Connection, stmt: Select[Any]) -> list[dict[str, Any]]:
    """The rows of a statement as dicts."""
    return dicts(conn.execute(stmt))


def condition(sql: str) -> ColumnElement[bool]:
    """A condition of ours word for word, as the one of a partial index has to be repeated."""
    return cast("ColumnElement[bool]", text(f"({sql})"))


class _Ids(TypeDecorator[list[int]]):
    """Any number of ids as one bound text: an array's on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: list[int] | None, dialect: Dialect) -> str:
        ids = ",".join(map(str, value or ()))
        return f"[{ids}]" if dialect.name == "sqlite" else f"{{{ids}}}"


class _Among(ColumnElement[bool]):
    inherit_cache = True
    _traverse_internals = [
        ("column", InternalTraversal.dp_clauseelement),
        ("ids", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[Any], ids: Collection[int]) -> None:
        self.column = column
        self.ids = bindparam("ids", sorted(ids), type_=_Ids(), unique=True)
        self.type = _BOOLEAN

    def self_group(self, against: Any = None) -> Any:
        return self  # or SQLAlchemy writes `= 1` behind it for SQLite, which then looks at every row


@compiles(_Among)
def _any_of(element: _Among, compiler: Any, **options: Any) -> str:
    column, ids = compiler.process(element.column, **options), compiler.process(element.ids, **options)
    return f"{column} = ANY (CAST({ids} AS bigint[]))"


@compiles(_Among, "sqlite")
def _in_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, ids = compiler.process(element.column, **options), compiler.process(element.ids, **options)
    return f"{column} IN (SELECT value FROM json_each({ids}))"


def among(column: ColumnElement[Any], ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a column of ids holds one of these, however many: one bound value, one statement's text."""
    return _Among(column, ids)
