"""Throughput, utilization, available nodes and a campaign's summary, over the filters of the queries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from balsam.core.clock import now_us
from balsam.core.states import JobState
from balsam.logic.series import Window, area, cumulative, median, step_sum
from balsam.store import batch_jobs, events, jobs, runs, sessions
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import batch_jobs as batch_job_table
from balsam.store.tables import events as event_table
from balsam.store.tables import jobs as job_table
from balsam.store.tables import runs as run_table

HOUR_US = 3_600_000_000


def throughput(conn: Connection, owner: Owner, f: EventFilter, to_state: str) -> dict[str, Any]:
    """One point for each chosen event that entered `to_state`."""
    return _series(*cumulative(events.timestamps(conn, owner, f, to_state)))


def utilization(conn: Connection, owner: Owner, f: EventFilter, node_weighting: bool) -> dict[str, Any]:
    """Nodes (or, unweighted, runs) that are busy, over the runs that the event filter chooses."""
    window = Window.of(f.timestamp_after, f.timestamp_before, now_us())
    spans = runs.intervals(conn, owner, runs.where(owner, f))
    if not node_weighting:
        spans = [(start, end, 1.0) for start, end, _ in spans]
    return _series(*step_sum(spans, window))


def available_nodes(conn: Connection, owner: Owner, f: BatchJobFilter) -> dict[str, Any]:
    """Nodes on which launchers of the chosen BatchJobs were there to run jobs."""
    spans = sessions.launcher_spans(conn, owner, batch_jobs.where(owner, f))
    return _series(*step_sum(spans, Window(None, now_us())))


def _series(times: list[int], values: list[Any]) -> dict[str, Any]:
    return {"times_us": times, "values": values}


def summary(conn: Connection, owner: Owner, f: JobFilter) -> dict[str, Any]:
    """Jobs by state, time in each state, and the node-hours of the allocations that ran these jobs."""
    chosen = select(job_table.c.id).where(*jobs.where(owner, f))
    stays: dict[str, list[int]] = {}
    skewed = 0
    for state, us in events.stays(conn, owner, [event_table.c.job_id.in_(chosen)]):
        skewed += us < 0
        stays.setdefault(state, []).append(max(0, us))
    window = Window(None, now_us())
    busy = area(runs.intervals(conn, owner, [run_table.c.job_id.in_(chosen)]), window)
    allocations = select(run_table.c.batch_job_id).where(
        run_table.c.owner_id == owner.user_id, run_table.c.job_id.in_(chosen)
    )
    theirs = [*mine(batch_job_table, owner), batch_job_table.c.id.in_(allocations)]
    available = area(sessions.launcher_spans(conn, owner, theirs), window)
    return {
        "jobs_by_state": jobs.count_by_state(conn, owner, f),
        "state_times": [
            {"state": state, "stays": len(times), "median_sec": median(times) / 1e6}
            for state, times in stays.items()
            if state != JobState.created
        ],
        "node_hours_busy": busy / HOUR_US,
        "node_hours_available": available / HOUR_US,
        "skewed_events": skewed,
    }
