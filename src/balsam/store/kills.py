"""Kills of jobs that a session holds: noted in the job until the session has let go of it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select, update

from balsam.store.bulk import among
from balsam.store.jobs import JobFilter, chosen
from balsam.store.owner import Owner, checked, mine
from balsam.store.tables import jobs


def lock_some(conn: Connection, owner: Owner, f: JobFilter, after: int, limit: int) -> list[int]:
    """The first of the chosen ids above `after`; until the transaction ends they stay as they were chosen."""
    stmt = select(jobs.c.id).where(*chosen(conn, owner, f), jobs.c.id > after).order_by(jobs.c.id)
    return list(conn.execute(stmt.limit(limit).with_for_update(key_share=True)).scalars())


def note(conn: Connection, owner: Owner, wanted: Collection[int], by: str) -> None:
    """Who killed a job first stays noted."""
    stmt = update(jobs).where(
        *mine(jobs, owner), among(jobs.c.id, wanted), checked(jobs.c.killed_by).is_(None)
    )
    conn.execute(stmt.values(killed_by=by))


def held(conn: Connection, owner: Owner, session_id: int) -> dict[int, str]:
    """Of the jobs of a session those that are killed, and by whom."""
    stmt = select(jobs.c.id, jobs.c.killed_by).where(
        *mine(jobs, owner), jobs.c.session_id == session_id, jobs.c.killed_by.is_not(None)
    )
    return dict(conn.execute(stmt.order_by(jobs.c.id)).all())
