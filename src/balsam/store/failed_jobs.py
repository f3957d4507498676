"""Jobs that failed for good, the newest first, with what their last event says."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exists, func, select

from balsam.core.states import JobState
from balsam.store.bulk import dicts
from balsam.store.owner import mine
from balsam.store.scope import Scope
from balsam.store.tables import apps, events, jobs, runs, sites


def failed_jobs(conn: Connection, scope: Scope, limit: int) -> list[dict[str, Any]]:
    """Jobs that entered FAILED in the window and are there still, however they came there.

    `return_code`, `nodes` and `run_data`, of the event that ended it, are those of the last run, None where
    there was none.
    """
    later, run_end = events.alias("later"), events.alias("run_end")
    is_last = ~exists().where(later.c.job_id == events.c.job_id, later.c.id > events.c.id)
    ended = (
        select(events.c.id, events.c.job_id)
        .select_from(events.join(jobs, jobs.c.id == events.c.job_id))
        .where(
            *scope.events(), events.c.to_state == JobState.failed, jobs.c.state == JobState.failed, is_last
        )
        .order_by(events.c.timestamp.desc(), events.c.id.desc())
        .limit(limit)
        .subquery()
    )
    last = (
        select(runs.c.job_id, func.max(runs.c.id).label("id"))
        .where(*mine(runs, scope.owner), runs.c.job_id.in_(select(ended.c.job_id)))
        .group_by(runs.c.job_id)
        .subquery()
    )
    joined = (
        ended.join(events, events.c.id == ended.c.id)
        .join(jobs, jobs.c.id == ended.c.job_id)
        .join(apps, apps.c.id == jobs.c.app_id)
        .join(sites, sites.c.id == jobs.c.site_id)
        .join(last, last.c.job_id == jobs.c.id, isouter=True)
        .join(runs, runs.c.id == last.c.id, isouter=True)
        .join(run_end, run_end.c.id == runs.c.end_event_id, isouter=True)
    )
    stmt = (
        select(
            jobs.c.id.label("job_id"),
            jobs.c.workdir,
            jobs.c.tags,
            apps.c.name.label("app"),
            sites.c.name.label("site"),
            events.c.batch_job_id,
            events.c.timestamp,
            events.c.from_state,
            events.c.data,
            func.coalesce(runs.c.attempt, 0).label("attempts"),
            runs.c.return_code,
            runs.c.nodes,
            run_end.c.data.label("run_data"),
        )
        .select_from(joined)
        .order_by(events.c.timestamp.desc(), events.c.id.desc())
    )
    return dicts(conn.execute(stmt))
