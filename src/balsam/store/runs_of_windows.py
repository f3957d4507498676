"""The runs of a window, as little as a timeline needs of each."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from balsam.store.scope import Scope
from balsam.store.tables import runs


class Run(NamedTuple):
    """`end` None: it goes on."""

    start: int
    end: int | None
    job_id: int
    end_state: str | None
    batch_job_id: int | None
    session_id: int | None
    nodes: list[str]


def newest(conn: Connection, scope: Scope, limit: int) -> list[Run]:
    """The newest that lie in the scope's window, wholly or in part."""
    stmt = (
        select(*(runs.c[name] for name in Run._fields))
        .where(*scope.runs())
        .order_by(runs.c.start.desc(), runs.c.id.desc())
    )
    return [Run(*row) for row in conn.execute(stmt.limit(limit))]
