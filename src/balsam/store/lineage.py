"""Jobs and the parents that they wait for, up to the roots."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import CTE, Connection, and_, or_, select

from balsam.core.states import JobState, ParentsMust
from balsam.store.bulk import among
from balsam.store.owner import Owner, mine
from balsam.store.tables import job_parents, jobs


class Relative(NamedTuple):
    """A job as its descendants see it."""

    state: JobState
    parent_ids: list[int]
    parents_must: str


def relatives(conn: Connection, owner: Owner, wanted: Collection[int]) -> dict[int, Relative]:
    """Those of the jobs that exist."""
    columns = (jobs.c.id, jobs.c.state, jobs.c.parent_ids, jobs.c.parents_must)
    stmt = select(*columns).where(*mine(jobs, owner.everywhere), among(jobs.c.id, wanted))
    return {row[0]: Relative(JobState(row[1]), row[2], row[3]) for row in conn.execute(stmt).all()}


def never_starting(owner: Owner) -> CTE:
    """`job_id` of each of the owner's jobs that waits for a parent that can't do what it waits for.

    A parent that was deleted, or FAILED where it must finish; or one that waits so itself, up to any depth.
    """
    waits = [*mine(jobs, owner.everywhere), jobs.c.state == JobState.awaiting_parents]
    parent = jobs.alias("of_which")
    is_lost = or_(
        parent.c.id.is_(None),
        and_(parent.c.state == JobState.failed, jobs.c.parents_must == ParentsMust.finish),
    )
    first = (
        select(job_parents.c.job_id)
        .select_from(
            jobs.join(job_parents, job_parents.c.job_id == jobs.c.id).outerjoin(
                parent, parent.c.id == job_parents.c.parent_id
            )
        )
        .where(*waits, is_lost)
    )
    found = first.cte("never_starting", recursive=True)
    following = (
        select(job_parents.c.job_id)
        .select_from(
            found.join(job_parents, job_parents.c.parent_id == found.c.job_id).join(
                jobs, jobs.c.id == job_parents.c.job_id
            )
        )
        .where(*waits)
    )
    return found.union(following)
