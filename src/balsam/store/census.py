"""Counts over all owners, for the operator's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, select, text

from balsam.core.states import ACTIVE_BATCH_JOB_STATES, RUNNABLE_STATES, JobState
from balsam.store import alerts, deliveries
from balsam.store.tables import batch_jobs, jobs, sessions


@dataclass(frozen=True, slots=True)
class Census:
    """What there is now."""

    jobs_by_state: dict[str, int]
    jobs_waiting: int  # runnable, and held by no session
    sessions: int
    nodes_available: float  # those of launchers that are live
    nodes_busy: float  # by runs that a session holds
    batch_jobs_by_state: dict[str, tuple[int, int]]  # allocations that have not ended, and their nodes
    alerts_firing: int
    messages_unsent: int
    oldest_unsent: int | None  # when it was written, in microseconds
    database_bytes: int


def take(conn: Connection) -> Census:
    """Reads an index entry of each job: seconds, where there are many millions."""
    by_state = conn.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    waiting = select(func.count()).where(jobs.c.session_id.is_(None), jobs.c.state.in_(list(RUNNABLE_STATES)))
    live = select(func.count(), func.coalesce(func.sum(sessions.c.num_nodes), 0))
    number, nodes = conn.execute(live.where(sessions.c.ended.is_(None))).one()
    return Census(
        {row[0]: row[1] for row in by_state},
        conn.execute(waiting).scalar_one(),
        number,
        float(nodes),
        _busy_nodes(conn),
        _allocations(conn),
        alerts.count_firing(conn),
        *deliveries.unsent(conn),
        _database_bytes(conn),
    )


def _allocations(conn: Connection) -> dict[str, tuple[int, int]]:
    stmt = select(batch_jobs.c.state, func.count(), func.sum(batch_jobs.c.num_nodes))
    active = stmt.where(batch_jobs.c.state.in_(sorted(ACTIVE_BATCH_JOB_STATES)))
    return {
        state: (number, nodes) for state, number, nodes in conn.execute(active.group_by(batch_jobs.c.state))
    }


def _database_bytes(conn: Connection) -> int:
    if conn.dialect.name == "sqlite":
        stmt = text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
    else:
        stmt = text("SELECT pg_database_size(current_database())")
    return int(conn.execute(stmt).scalar_one())


def node_weight() -> ColumnElement[float]:
    """As `core.resources.node_weight` has it: whole nodes if more than one, else a share of one."""
    return case((jobs.c.num_nodes > 1, jobs.c.num_nodes), else_=1.0 / jobs.c.node_packing_count)


def _busy_nodes(conn: Connection) -> float:
    running = [jobs.c.session_id.is_not(None), jobs.c.state == JobState.running]
    return float(conn.execute(select(func.coalesce(func.sum(node_weight()), 0)).where(*running)).scalar_one())
