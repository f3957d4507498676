"""Lists as columns: the database's own JSON texts side by side, for whoever wants many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import Response
from sqlalchemy import Connection, Select

from balsam.core.errors import Invalid
from balsam.store.column_pages import ColumnPage, as_columns
from balsam.store.paging import Page, cursor_behind


def reader(
    names: Sequence[str], known: Sequence[str], page: Page
) -> Callable[[Connection, Select[Any]], ColumnPage]:
    """How to read these columns of a page; Invalid for a name that is not known."""
    for name in names:
        if name not in known:
            raise Invalid(f"columns={name!r} is none of {', '.join(known)}")
    return as_columns(names, page.column)


def listing(found: ColumnPage, count: dict[str, Any], page: Page) -> Response:
    """`{"count", "columns": {name: [...]}, "next"}`; `count`: what the list says of it."""
    columns = ",".join(f'"{name}":{text}' for name, text in found.texts.items())
    following = cursor_behind(found.last, page) if found.length and found.length >= page.limit else None
    rest = orjson.dumps({**count, "next": following}).decode()
    return Response(f'{{"columns":{{{columns}}},{rest[1:]}', media_type="application/json")
