"""Jobs that ended long ago, to be removed with all that is kept of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, or_, select

from balsam.core.states import DONE_STATES
from balsam.store.bulk import among
from balsam.store.owner import Owner, checked, mine
from balsam.store.tables import events, job_parents, jobs, runs, users

_DONE = [state.value for state in DONE_STATES]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where the search for old jobs has come to."""

    last_update: int = -1
    id: int = 0


def owners(conn: Connection) -> list[Owner]:
    """All users."""
    return [Owner(user_id) for user_id in conn.execute(select(users.c.id).order_by(users.c.id)).scalars()]


def old(conn: Connection, owner: Owner, cutoff: int, after: Place, limit: int) -> list[Place]:
    """Jobs that were last changed before the cutoff and are free to go, from a place on.

    Unfinished ones are passed over, and so are those that a session holds.
    """
    beyond = or_(
        jobs.c.last_update > after.last_update,
        (jobs.c.last_update == after.last_update) & (jobs.c.id > after.id),
    )
    stmt = (
        select(jobs.c.last_update, jobs.c.id)
        .where(*mine(jobs, owner, searched=True), jobs.c.last_update >= after.last_update, beyond)
        .where(*_is_old(cutoff))
        .order_by(jobs.c.last_update, jobs.c.id)
        .limit(limit)
    )
    return [Place(*row) for row in conn.execute(stmt)]


def lock(conn: Connection, owner: Owner, job_ids: Collection[int], cutoff: int) -> list[int]:
    """Those of the jobs that still are so, locked; what somebody else has locked is passed over."""
    stmt = (
        select(jobs.c.id)
        .where(*mine(jobs, owner), among(jobs.c.id, job_ids), *_is_old(cutoff))
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    )
    return list(conn.execute(stmt).scalars())


def needed(conn: Connection, owner: Owner, job_ids: Collection[int]) -> set[int]:
    """Those of the jobs for which a job that has not ended may wait."""
    stmt = (
        select(job_parents.c.parent_id)
        .join(jobs, jobs.c.id == job_parents.c.job_id)
        .where(
            among(job_parents.c.parent_id, job_ids), *mine(jobs, owner), checked(jobs.c.state).not_in(_DONE)
        )
    )
    return set(conn.execute(stmt).scalars())


def counts(conn: Connection, job_ids: Collection[int]) -> tuple[int, int]:
    """How many events and runs these jobs have."""
    numbers = [
        conn.execute(select(func.count()).select_from(table).where(among(table.c.job_id, job_ids)))
        for table in (events, runs)
    ]
    return numbers[0].scalar_one(), numbers[1].scalar_one()


def _is_old(cutoff: int) -> list[ColumnElement[bool]]:
    return [
        jobs.c.last_update < cutoff,
        checked(jobs.c.state).in_(_DONE),
        checked(jobs.c.session_id).is_(None),
        jobs.c.killed_by.is_(None),
    ]
