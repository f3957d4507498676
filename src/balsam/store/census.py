"""Counts over all owners, for the operator's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from balsam.core.states import RUNNABLE_STATES
from balsam.store.tables import jobs, sessions


@dataclass(frozen=True, slots=True)
class Census:
    """What there is now."""

    jobs_by_state: dict[str, int]
    jobs_waiting: int  # runnable, and held by no session
    sessions: int


def take(conn: Connection) -> Census:
    """Reads an index entry of each job: seconds, where there are many millions."""
    by_state = conn.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    waiting = select(func.count()).where(jobs.c.session_id.is_(None), jobs.c.state.in_(list(RUNNABLE_STATES)))
    live = select(func.count()).select_from(sessions).where(sessions.c.ended.is_(None))
    return Census(
        {row[0]: row[1] for row in by_state},
        conn.execute(waiting).scalar_one(),
        conn.execute(live).scalar_one(),
    )


def events_written(conn: Connection) -> int:
    """How many there ever were: from the sequence of ids, which neither deletion nor a restart turns back."""
    if conn.dialect.name == "sqlite":
        stmt = text("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    else:
        stmt = text("SELECT pg_sequence_last_value(pg_get_serial_sequence('events', 'id'))")
    return int(conn.execute(stmt).scalar() or 0)
