"""What rules look at. Each statement reads a bounded part of an index, however many jobs there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, true

from balsam.core.states import RUNNABLE_STATES, JobState
from balsam.store.bulk import among, condition, dicts
from balsam.store.census import node_weight
from balsam.store.owner import Owner, mine
from balsam.store.tables import ACQUIRABLE, events, jobs, runs, sessions
from balsam.store.tags import has_tags

LOOK_BACK = 10_000  # ends of jobs in a state, or starts of runs: no more of the newest are looked at


@dataclass(frozen=True, slots=True)
class Ended:
    """Jobs that ended; `since`: of a shorter time than was asked where there are too many to count."""

    failed: int
    finished: int
    since: int


def ended(
    conn: Connection, owner: Owner, since: int, site_ids: Collection[int] | None, tags: Mapping[str, str]
) -> Ended:
    """How many jobs of these sites and with these tags came to their end since then."""
    counts: dict[JobState, int] = {}
    for state in (JobState.failed, JobState.job_finished):
        counts[state], reached = _count(conn, owner, state, since, site_ids, tags)
        if reached is not None:
            return _ended_since(conn, owner, reached, site_ids, tags)
    return Ended(counts[JobState.failed], counts[JobState.job_finished], since)


def _ended_since(
    conn: Connection, owner: Owner, since: int, site_ids: Collection[int] | None, tags: Mapping[str, str]
) -> Ended:
    """Both over one and the same time, which may be shortened once more by the other state."""
    failed, reached = _count(conn, owner, JobState.failed, since, site_ids, tags)
    finished, reached_too = _count(conn, owner, JobState.job_finished, reached or since, site_ids, tags)
    if reached_too is not None:
        failed, _ = _count(conn, owner, JobState.failed, reached_too, site_ids, tags)
    return Ended(failed, finished, reached_too or reached or since)


def _count(
    conn: Connection,
    owner: Owner,
    state: JobState,
    since: int,
    site_ids: Collection[int] | None,
    tags: Mapping[str, str],
) -> tuple[int, int | None]:
    """How many of the newest LOOK_BACK; and the time of the first of them where there are more."""
    newest = (
        select(events.c.job_id, events.c.site_id, events.c.timestamp)
        .where(*mine(events, owner, searched=True), events.c.to_state == state, events.c.timestamp > since)
        .order_by(events.c.timestamp.desc())
        .limit(LOOK_BACK)
        .subquery()
    )
    chosen: list[ColumnElement[bool]] = [true(), *has_tags(owner, newest.c.job_id, tags)]
    if site_ids is not None:
        chosen.append(newest.c.site_id.in_(list(site_ids)))
    of_all, first = func.count(), func.min(newest.c.timestamp)
    of_chosen = func.coalesce(func.sum(case((and_(*chosen), 1), else_=0)), 0)
    number, first_us, found = conn.execute(select(of_all, first, of_chosen)).one()
    return int(found), first_us if number == LOOK_BACK else None


def newest_starts(conn: Connection, owner: Owner, since: int) -> dict[int, int]:
    """When the newest run since then started, of each site that has one.

    Where there are too many to look at, what runs now stands for the starts of sites that start few.
    """
    newest = (
        select(runs.c.site_id, runs.c.start)
        .where(*mine(runs, owner, searched=True), runs.c.start > since)
        .order_by(runs.c.start.desc())
        .limit(LOOK_BACK)
        .subquery()
    )
    stmt = select(newest.c.site_id, func.max(newest.c.start), func.count()).group_by(newest.c.site_id)
    rows = list(conn.execute(stmt))
    found = {site_id: start for site_id, start, _ in rows}
    if sum(number for _, _, number in rows) == LOOK_BACK:
        found = _running_since(conn, owner, since) | found
    return found


def _running_since(conn: Connection, owner: Owner, since: int) -> dict[int, int]:
    alive = select(sessions.c.id).where(*mine(sessions, owner, searched=True), sessions.c.ended.is_(None))
    stmt = select(jobs.c.site_id, func.max(jobs.c.state_since)).where(
        *mine(jobs, owner),
        jobs.c.session_id.is_not(None),
        jobs.c.session_id.in_(alive),
        jobs.c.state == JobState.running,
        jobs.c.state_since > since,
    )
    return dict(conn.execute(stmt.group_by(jobs.c.site_id)).all())


def waiting_job(conn: Connection, owner: Owner, site_id: int) -> dict[str, Any] | None:
    """A job of the site that a launcher could take now, if there is any."""
    for state in sorted(RUNNABLE_STATES):
        stmt = select(jobs).where(
            *mine(jobs, owner),
            jobs.c.site_id == site_id,
            jobs.c.session_id.is_(None),
            jobs.c.state == state,
            condition(ACQUIRABLE),
        )
        found = dicts(conn.execute(stmt.limit(1)))
        if found:
            return found[0]
    return None


@dataclass(frozen=True, slots=True)
class LiveLauncher:
    """What a launcher has, and how much of it runs keep busy now."""

    site_id: int
    batch_job_id: int | None
    nodes: int
    busy: float


def launchers(conn: Connection, owner: Owner) -> list[LiveLauncher]:
    """The owner's launchers that live."""
    alive = select(sessions).where(
        *mine(sessions, owner, searched=True), sessions.c.ended.is_(None), sessions.c.num_nodes > 0
    )
    rows = dicts(conn.execute(alive.order_by(sessions.c.id)))
    busy = _busy_nodes(conn, owner, [row["id"] for row in rows]) if rows else {}
    return [
        LiveLauncher(row["site_id"], row["batch_job_id"], row["num_nodes"], busy.get(row["id"], 0.0))
        for row in rows
    ]


def _busy_nodes(conn: Connection, owner: Owner, session_ids: Collection[int]) -> dict[int, float]:
    stmt = select(jobs.c.session_id, func.sum(node_weight())).where(
        *mine(jobs, owner),
        jobs.c.session_id.is_not(None),
        among(jobs.c.session_id, session_ids),
        jobs.c.state == JobState.running,
    )
    return {number: float(nodes) for number, nodes in conn.execute(stmt.group_by(jobs.c.session_id))}
