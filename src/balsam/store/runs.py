"""Runs: one row for each attempt of a job on nodes; what utilization and node-hours read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, or_, select

from balsam.store import events as event_store
from balsam.store.bulk import among, columns_of, insert_columns, update_columns
from balsam.store.events import EventFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import events, runs
from balsam.store.tags import with_tags


def start_many(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        insert_columns(conn, runs, columns_of(rows, rows[0]))


class Ran(NamedTuple):
    """What a run ran; None: its launcher did not tell."""

    app_version: int | None


def last_version(conn: Connection, owner: Owner, job_id: int) -> Ran | None:
    """Of a job's last run; None where it has not run."""
    stmt = select(runs.c.app_version).where(*mine(runs, owner), runs.c.job_id == job_id)
    found = conn.execute(stmt.order_by(runs.c.id.desc()).limit(1)).first()
    return None if found is None else Ran(found.app_version)


def last_versions(conn: Connection, owner: Owner, job_ids: Collection[int]) -> dict[int, int]:
    """By job: the version of its app that its last run ran; without those of which nobody told."""
    stmt = select(runs.c.job_id, runs.c.app_version).where(*mine(runs, owner), among(runs.c.job_id, job_ids))
    told = {row.job_id: row.app_version for row in conn.execute(stmt.order_by(runs.c.id))}
    return {job_id: version for job_id, version in told.items() if version is not None}


END = ("end", "end_state", "return_code", "signature", "end_event_id")


def end_many(conn: Connection, owner: Owner, ends: Sequence[dict[str, Any]]) -> None:
    """Each names its `job_id` and the columns END: that job's open run ends so."""
    if ends:
        columns = columns_of(ends, (*END, "job_id"))
        match = {"owner_id": owner.user_id}
        update_columns(conn, runs, columns, key="job_id", match=match, unless_set="end")


def where(owner: Owner, f: EventFilter) -> list[ColumnElement[bool]]:
    """Runs that an event filter chooses: see docs/analytics.md.

    Job, tags, BatchJob and window choose runs as they are; states, data and event ids choose the runs
    whose start event matches.
    """
    of_start = EventFilter(id=f.id, from_state=f.from_state, to_state=f.to_state, data=f.data)
    narrow = (f.job_id, f.batch_job_id, f.scheduler_id, f.tags or None)
    conditions = mine(runs, owner, searched=all(choice is None for choice in narrow))
    if f.job_id is not None:
        conditions.append(among(runs.c.job_id, f.job_id))
    if f.site_id is not None:
        conditions.append(runs.c.site_id.in_(list(f.site_id)))
    if f.batch_job_id is not None:
        conditions.append(runs.c.batch_job_id.in_(list(f.batch_job_id)))
    if f.scheduler_id is not None:
        conditions.append(runs.c.batch_job_id.in_(event_store.with_scheduler_id(owner, f.scheduler_id)))
    if f.timestamp_before is not None:
        conditions.append(runs.c.start <= f.timestamp_before)
    if f.timestamp_after is not None:
        conditions.append(or_(runs.c.end.is_(None), runs.c.end >= f.timestamp_after))
    conditions += with_tags(owner, runs.c.job_id, f.tags or {})
    if of_start != EventFilter():
        starts = select(events.c.id).where(*event_store.where(owner, of_start))
        conditions.append(runs.c.start_event_id.in_(starts))
    return conditions
