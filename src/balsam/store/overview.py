"""What a live view reads: jobs by state, moves and failures of late, each from one end of an index."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, select, true

from balsam.core.states import JobState
from balsam.store import jobs as job_store
from balsam.store.bulk import dicts
from balsam.store.groups import label
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import events, job_tags, jobs

J = JobState
_MOVES = [J.running, J.job_finished, J.failed]
TAG = "tag:"


def jobs_by_group(
    conn: Connection, owner: Owner, f: JobFilter, by: str | None
) -> list[tuple[str | int | None, str, int]]:
    """(group, state, jobs) of the chosen jobs; `by`: a name of `store.groups`, `site_id`, or None for all.

    Raises Invalid for a name that jobs can't be grouped by.
    """
    if by == "site_id":
        group: Any = jobs.c.site_id
    elif by is not None and by.startswith(TAG):
        return _by_tag(conn, owner, f, by.removeprefix(TAG))
    else:
        group = label(owner, by, jobs)
    rows = select(group.label("of_group"), jobs.c.state).where(*job_store.chosen(conn, owner, f)).subquery()
    keys = [rows.c.of_group, rows.c.state]
    return [tuple(row) for row in conn.execute(select(*keys, func.count()).group_by(*keys))]


def _by_tag(
    conn: Connection, owner: Owner, f: JobFilter, key: str
) -> list[tuple[str | int | None, str, int]]:
    """Joined once, where a look for the tag of each of a million jobs would take long."""
    joined = jobs.outerjoin(
        job_tags,
        and_(
            job_tags.c.owner_id == owner.user_id,
            job_tags.c.key == key,
            job_tags.c.job_id == jobs.c.id,
        ),
    )
    keys = [job_tags.c.value, jobs.c.state]
    stmt = select(*keys, func.count()).select_from(joined).where(*job_store.chosen(conn, owner, f))
    return [tuple(row) for row in conn.execute(stmt.group_by(*keys))]


def moves_since(conn: Connection, owner: Owner, since: int) -> list[tuple[int, str, int]]:
    """(site, state, how many entered it) of starts and ends of jobs."""
    keys = [events.c.site_id, events.c.to_state]
    stmt = select(*keys, func.count()).where(
        *mine(events, owner), events.c.to_state.in_(_MOVES), events.c.timestamp >= since
    )
    return [tuple(row) for row in conn.execute(stmt.group_by(*keys))]


def newest_failures(conn: Connection, owner: Owner, since: int, limit: int) -> list[dict[str, Any]]:
    """Events with which jobs failed, the newest first: each run's error, or what failed without a run."""
    found: list[dict[str, Any]] = []
    # One state a statement, so that each comes in the order of its index.
    for state, more in ((J.run_error, true()), (J.failed, events.c.from_state != J.run_error)):
        stmt = select(events).where(
            *mine(events, owner), events.c.to_state == state, events.c.timestamp >= since, more
        )
        found += dicts(conn.execute(stmt.order_by(events.c.timestamp.desc()).limit(limit)))
    return sorted(found, key=lambda row: (-row["timestamp"], -row["id"]))[:limit]
