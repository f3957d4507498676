"""What a live view reads: jobs by state, moves and failures of late, each from one end of an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from balsam.core.states import JobState
from balsam.store import jobs as job_store
from balsam.store.bulk import dicts
from balsam.store.groups import label
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import apps, events, job_tags, jobs, sites

J = JobState
_MOVES = [J.running, J.job_finished, J.failed]
TAG = "tag:"
Count = tuple[str | int | None, str, int]
Conditions = list[ColumnElement[bool]]
_NAMED = {"app": (apps, jobs.c.app_id), "site": (sites, jobs.c.site_id)}


def jobs_by_group(conn: Connection, owner: Owner, f: JobFilter, by: str | None) -> list[Count]:
    """(group, state, jobs) of the chosen jobs; `by`: a name of `store.groups`, `site_id`, or None for all.

    Raises Invalid for a name that jobs can't be grouped by.
    """
    conditions = job_store.chosen(conn, owner, f)
    if by is not None and by.startswith(TAG):
        return _by_tag(conn, owner, conditions, by.removeprefix(TAG))
    if by in _NAMED:
        named, column = _NAMED[by]
        counts = _counted(conn, column, conditions)
        ids = select(named.c.id, named.c.name).where(
            *mine(named, owner), named.c.id.in_({group for group, _, _ in counts})
        )
        return _together(counts, dict(conn.execute(ids).all()))
    return _counted(conn, jobs.c.site_id if by == "site_id" else label(owner, by, jobs), conditions)


def _counted(conn: Connection, group: ColumnElement[Any], conditions: Conditions) -> list[Count]:
    rows = select(group.label("of_group"), jobs.c.state).where(*conditions).subquery()
    keys = [rows.c.of_group, rows.c.state]
    return [tuple(row) for row in conn.execute(select(*keys, func.count()).group_by(*keys))]


def _together(counts: list[Count], names: Mapping[Any, str]) -> list[Count]:
    """By name, which apps of several sites may share. Names are looked up once, not for each of the jobs."""
    found: dict[tuple[str | None, str], int] = {}
    for group, state, number in counts:
        key = (names.get(group), state)
        found[key] = found.get(key, 0) + number
    return [(name, state, number) for (name, state), number in found.items()]


def _by_tag(conn: Connection, owner: Owner, conditions: Conditions, key: str) -> list[Count]:
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
    stmt = select(*keys, func.count()).select_from(joined).where(*conditions)
    return [tuple(row) for row in conn.execute(stmt.group_by(*keys))]


def moves_since(conn: Connection, owner: Owner, since: int) -> list[tuple[int, str, int]]:
    """(site, state, how many entered it) of starts and ends of jobs."""
    keys = [events.c.site_id, events.c.to_state]
    stmt = select(*keys, func.count()).where(
        *mine(events, owner, searched=True), events.c.to_state.in_(_MOVES), events.c.timestamp >= since
    )
    return [tuple(row) for row in conn.execute(stmt.group_by(*keys))]


def newest_failures(conn: Connection, owner: Owner, since: int, limit: int) -> list[dict[str, Any]]:
    """Events with which jobs failed, the newest first: each run's error, or what failed without a run."""
    found: list[dict[str, Any]] = []
    # One state a statement, so that each comes in the order of its index.
    for state, more in ((J.run_error, true()), (J.failed, events.c.from_state != J.run_error)):
        stmt = select(events).where(
            *mine(events, owner, searched=True), events.c.to_state == state, events.c.timestamp >= since, more
        )
        found += dicts(conn.execute(stmt.order_by(events.c.timestamp.desc()).limit(limit)))
    return sorted(found, key=lambda row: (-row["timestamp"], -row["id"]))[:limit]
