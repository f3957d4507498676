"""Counts that stop: how many jobs there are is told exactly up to a bound, and fast beyond it."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from balsam.store.jobs import JobFilter, chosen
from balsam.store.owner import Owner
from balsam.store.tables import jobs


def count(conn: Connection, owner: Owner, f: JobFilter, bound: int) -> int:
    """How many jobs the filter chooses; `bound + 1` for more than `bound`."""
    some = select(jobs.c.id).where(*chosen(conn, owner, f)).limit(bound + 1).subquery()
    return conn.execute(select(func.count()).select_from(some)).scalar_one()
