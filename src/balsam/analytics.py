"""Throughput, utilization and available nodes as step functions, ready for `plt.step(x, y, where="post")`.

    from balsam.analytics import available_nodes, throughput_report, utilization_report

    plt.step(*utilization_report(EventLog.objects.filter(tags={"experiment": "foo"})), where="post")

Each report takes a query, whose filters the server computes over, or a plain list. It gives two lists:
times (UTC, ascending) and the value that holds from each time on; `([], [])` where nothing matches. Where
something still runs, one point at the window's end or now closes the series.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from balsam.core.clock import UtcDatetime, now_us, to_us
from balsam.core.states import JobState
from balsam.schemas.analytics import SeriesOut, SummaryOut
from balsam.sdk.batch_jobs import BatchJob, BatchJobQuery
from balsam.sdk.events import EventLog, EventLogQuery
from balsam.sdk.jobs import JobQuery
from balsam.sdk.query import IDS_PER_REQUEST, Query

__all__ = ["available_nodes", "summary", "throughput_report", "utilization_report"]

Series = tuple[list[UtcDatetime], list[float]]
Span = tuple[int, int | None, float]  # start and end (None: open) in microseconds since 1970, weight


def throughput_report(
    log_query: EventLogQuery | Iterable[EventLog], to_state: JobState | str = JobState.job_finished
) -> tuple[list[UtcDatetime], list[int]]:
    """How many events entered `to_state`: one point for each, counts 1, 2, 3 ..."""
    state = JobState(to_state).value
    if isinstance(log_query, EventLogQuery):
        times, counts = _ask(log_query, "throughput", entered=state)
        return times, [int(count) for count in counts]
    entered = sorted(to_us(event.timestamp) for event in log_query if event.to_state == state)
    return [UtcDatetime.of_us(us) for us in entered], list(range(1, len(entered) + 1))


def utilization_report(log_query: EventLogQuery | Iterable[EventLog], node_weighting: bool = True) -> Series:
    """Nodes that runs keep busy; or, without weighting, how many runs go on at a time.

    A run of one node counts as the share of it that the job asked for. Several runs of one job count
    separately; one that began before the query's window counts from the window's start.
    """
    if isinstance(log_query, EventLogQuery):
        return _ask(log_query, "utilization", node_weighting=node_weighting)
    return _steps(_runs(log_query, node_weighting))


def available_nodes(batch_job_query: BatchJobQuery | Iterable[BatchJob]) -> Series:
    """Nodes on which launchers were there to run jobs."""
    if isinstance(batch_job_query, BatchJobQuery):
        return _ask(batch_job_query, "available-nodes")
    return _steps(
        (to_us(batch_job.start_time), _us(batch_job.end_time), float(batch_job.num_nodes))
        for batch_job in batch_job_query
        if batch_job.start_time is not None
    )


def summary(job_query: JobQuery) -> SummaryOut:
    """Jobs by state, median time in each state, and node-hours busy and available, over the same jobs."""
    _must_be_whole(job_query)
    return SummaryOut(**job_query.client().get("/analytics/summary", job_query.filters))


def _ask(query: Query[Any], report: str, **options: Any) -> Series:
    _must_be_whole(query)
    if query.matches_nothing:
        return [], []
    answer = SeriesOut(**query.client().get(f"/analytics/{report}", {**query.filters, **options}))
    return [UtcDatetime.of_us(us) for us in answer.times_us], answer.values


def _must_be_whole(query: Query[Any]) -> None:
    if query.is_sliced:
        raise ValueError(
            "a report needs whole runs, and a slice cuts them: narrow the query with filters, "
            "such as timestamp_after and timestamp_before, or give a list"
        )
    if any(isinstance(value, list) and len(value) > IDS_PER_REQUEST for value in query.filters.values()):
        raise ValueError(
            f"a report takes up to {IDS_PER_REQUEST} ids: filter by tags, or give a list of events"
        )


# ---- the slow reference: what the reports mean, over a plain list ----


def _runs(events: Iterable[EventLog], node_weighting: bool) -> list[Span]:
    """One span for each stay in RUNNING; events need `data["num_nodes"]`, and where it is missing it is 1."""
    spans: list[Span] = []
    open_runs: dict[int, tuple[int, float]] = {}
    for event in sorted(events, key=lambda event: event.id):
        us = to_us(event.timestamp)
        if event.from_state == JobState.running and event.job_id in open_runs:
            start, weight = open_runs.pop(event.job_id)
            spans.append((start, max(start, us), weight))
        if event.to_state == JobState.running and not event.data.get("forced"):
            open_runs[event.job_id] = (us, float(event.data.get("num_nodes", 1)) if node_weighting else 1.0)
    return spans + [(start, None, weight) for start, weight in open_runs.values()]


def _steps(spans: Iterable[Span]) -> Series:
    now = now_us()
    change: dict[int, float] = {}
    is_open = False
    for start, end, weight in spans:
        change[start] = change.get(start, 0.0) + weight
        if end is None:
            is_open = True
        else:
            change[end] = change.get(end, 0.0) - weight
    times, values = sorted(change), list[float]()
    for us in times:
        level = (values[-1] if values else 0.0) + change[us]
        values.append(max(0.0, round(level, 9)))  # sums of thirds drift
    if is_open and times[-1] < now:
        times.append(now)
        values.append(values[-1])
    return [UtcDatetime.of_us(us) for us in times], values


def _us(moment: UtcDatetime | None) -> int | None:
    return None if moment is None else to_us(moment)
