"""What the reports mean, over plain lists: slow, and obvious."""

from __future__ import annotations

from collections.abc import Iterable

from balsam.core.clock import UtcDatetime, now_us, to_us
from balsam.core.states import JobState
from balsam.sdk.batch_jobs import BatchJob
from balsam.sdk.events import EventLog

Span = tuple[int, int | None, float]  # start and end (None: open) in microseconds since 1970, weight
Series = tuple[list[UtcDatetime], list[float]]


def throughput(events: Iterable[EventLog], state: str) -> tuple[list[UtcDatetime], list[float]]:
    """One point for each event that entered the state."""
    entered = sorted(to_us(event.timestamp) for event in events if event.to_state == state)
    return [UtcDatetime.of_us(us) for us in entered], list(range(1, len(entered) + 1))


def utilization(events: Iterable[EventLog], node_weighting: bool) -> Series:
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
    return _steps([*spans, *((start, None, weight) for start, weight in open_runs.values())])


def available_nodes(batch_jobs: Iterable[BatchJob]) -> Series:
    """By the allocations' own times."""
    return _steps(
        (to_us(batch_job.start_time), _us(batch_job.end_time), float(batch_job.num_nodes))
        for batch_job in batch_jobs
        if batch_job.start_time is not None
    )


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
