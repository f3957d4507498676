"""One row for each attempt, with all that is known of it: what tables of runs and timelines show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from balsam.store.bulk import among, dicts
from balsam.store.owner import mine
from balsam.store.paging import Page, paged
from balsam.store.scope import Scope
from balsam.store.tables import apps, batch_jobs, events, jobs, runs, sites

START, SLOWEST = "start", "slowest"


@dataclass(frozen=True, slots=True)
class Attempts:
    """Which of a scope's runs: those with these end states (None: all), in this order.

    `order`: `start`, `-start`, or `slowest` (what still goes on counts up to `now`), which has one page only.
    """

    end_state: Collection[str] | None
    order: str
    limit: int
    after: str | None
    now: int

    @property
    def page(self) -> Page:
        return Page(limit=self.limit, order=self.order, after=self.after)


def trace(conn: Connection, scope: Scope, wanted: Attempts) -> list[dict[str, Any]]:
    """Rows of runs with the names of their apps and sites, and the data of their end events."""
    where = scope.runs()
    if wanted.end_state is not None:
        where.append(runs.c.end_state.in_(list(wanted.end_state)))
    chosen = _ordered(select(runs.c.id, runs.c.start).where(*where), wanted)
    # The names of a page's runs alone are looked up.
    ids = [row.id for row in conn.execute(chosen)]
    named = _named().where(*mine(runs, scope.owner), among(runs.c.id, ids))
    found = {row["id"]: row for row in dicts(conn.execute(named))}
    return [found[run_id] for run_id in ids]


def _ordered(stmt: Select[Any], wanted: Attempts) -> Select[Any]:
    if wanted.order != SLOWEST:
        return paged(stmt, wanted.page, runs.c.start, runs.c.id)
    took: ColumnElement[int] = func.coalesce(runs.c.end, wanted.now) - runs.c.start
    return stmt.order_by(took.desc(), runs.c.id).limit(wanted.limit)


def _named() -> Select[Any]:
    began, ended = events.alias("began"), events.alias("ended")
    joined = (
        runs.join(jobs, jobs.c.id == runs.c.job_id)
        .join(apps, apps.c.id == jobs.c.app_id)
        .join(sites, sites.c.id == runs.c.site_id)
        .join(began, began.c.id == runs.c.start_event_id, isouter=True)
        .join(ended, ended.c.id == runs.c.end_event_id, isouter=True)
        .join(batch_jobs, batch_jobs.c.id == runs.c.batch_job_id, isouter=True)
    )
    return select(
        runs,
        jobs.c.workdir,
        jobs.c.tags,
        apps.c.name.label("app"),
        sites.c.name.label("site"),
        batch_jobs.c.scheduler_id,
        began.c.entered.label("runnable"),
        ended.c.data.label("end_data"),
    ).select_from(joined)


def bars(conn: Connection, scope: Scope, limit: int) -> list[tuple[Any, ...]]:
    """(nodes, start, end, run, job, app, end state) of the newest runs, by start."""
    newest = select(runs.c.id).where(*scope.runs()).order_by(runs.c.start.desc(), runs.c.id.desc())
    ids = newest.limit(limit).subquery()
    stmt = (
        select(
            runs.c.nodes,
            runs.c.start,
            runs.c.end,
            runs.c.id,
            runs.c.job_id,
            apps.c.name,
            runs.c.end_state,
        )
        .select_from(
            ids.join(runs, runs.c.id == ids.c.id)
            .join(jobs, jobs.c.id == runs.c.job_id)
            .join(apps, apps.c.id == jobs.c.app_id)
        )
        .order_by(runs.c.start, runs.c.id)
    )
    return [tuple(row) for row in conn.execute(stmt)]
