"""The analytics as anybody would compute them by hand, from the moves of a history. Slow, and obvious.

Times are seconds since `histories.ZERO`. Every function goes through all runs for each of its answers.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from balsam.core.states import JobState
from balsam.logic.signature import failure_signature
from tests.analytics.histories import APPS, LAST, SITES, Allocation, History, Job, Move

J = JobState
NOW = LAST + 10
Label = Any


@dataclass(frozen=True)
class Window:
    after: int | None
    before: int | None

    @property
    def end(self) -> int:
        return NOW if self.before is None else min(self.before, NOW)

    def holds(self, second: int) -> bool:
        return (self.after is None or second >= self.after) and (self.before is None or second <= self.before)


@dataclass(frozen=True)
class Event:
    job: Job
    move: Move
    old: JobState
    entered: int
    attempt: int  # of the stay that it ends
    allocation: Allocation | None
    first_allocation: Allocation | None  # the one that first ran the job


@dataclass(frozen=True)
class Run:
    job: Job
    attempt: int
    allocation: Allocation | None
    begin: Move
    end: Move | None
    runnable: int

    @property
    def start(self) -> int:
        return self.begin.at

    @property
    def stop(self) -> int | None:
        return None if self.end is None else max(self.begin.at, self.end.at)

    def weight(self, unit: str) -> float:
        data = self.begin.data
        return float({"job": 1, "node": self.job.weight, "cpu": data["cpus"], "gpu": data["gpus"]}[unit])

    def overlaps(self, window: Window) -> bool:
        starts = window.before is None or self.start <= window.before
        return starts and (self.end is None or window.after is None or self.end.at >= window.after)

    def inside(self, window: Window) -> float:
        """Seconds of the window in which it went on."""
        begin = self.start if window.after is None else max(self.start, window.after)
        end = window.end if self.stop is None else min(self.stop, window.end)
        return max(0, end - begin)


def events(history: History) -> list[Event]:
    found = []
    for job in history.jobs:
        old, entered, allocation = J.created, 0, None
        runs = [move for move in job.moves if move.new is J.running]
        first = _allocation(history, runs[0]) if runs else None
        ended = 0
        for move in job.moves:
            if move.new is J.running:
                allocation = _allocation(history, move)
            follows = old in (J.run_done, J.run_error, J.run_timeout) and ended > 0
            found.append(Event(job, move, old, entered, ended if follows else ended + 1, allocation, first))
            if old is J.running:
                ended += 1
            old, entered = move.new, move.at
    return found


def _allocation(history: History, move: Move) -> Allocation | None:
    return None if move.allocation is None else history.allocations[move.allocation]


def runs(history: History) -> list[Run]:
    found = []
    for job in history.jobs:
        attempt = 0
        for before, begin, end in zip([None, *job.moves], job.moves, [*job.moves[1:], None], strict=False):
            if begin.new is J.running:
                attempt += 1
                runnable = 0 if before is None else before.at
                found.append(Run(job, attempt, _allocation(history, begin), begin, end, runnable))
    return found


LABELS: dict[str | None, Callable[[Job, Allocation | None], Label]] = {
    None: lambda job, allocation: None,
    "site": lambda job, allocation: SITES[job.site],
    "app": lambda job, allocation: APPS[job.app],
    "project": lambda job, allocation: None if allocation is None else allocation.project,
    "batch_job": lambda job, allocation: None if allocation is None else allocation.id,
    "tag:size": lambda job, allocation: job.tags.get("size"),
}


def grouped(items: Iterable[Any], by: str | None) -> dict[Label, list[Any]]:
    found: dict[Label, list[Any]] = {}
    for item in items:
        found.setdefault(LABELS[by](item.job, item.allocation), []).append(item)
    return found


# ---- series ----


def throughput(chosen: list[Event]) -> tuple[list[int], list[int]]:
    times = sorted(event.move.at for event in chosen)
    return times, [number + 1 for number in range(len(times))]


def level(spans: list[tuple[int, int | None, float]], second: float) -> float:
    return sum(weight for start, end, weight in spans if start <= second and (end is None or second < end))


def steps(spans: list[tuple[int, int | None, float]], window: Window) -> tuple[list[int], list[float]]:
    """The level at each second at which something in the window begins or ends, and at its end if open."""
    first = window.after
    cut = [
        (start if first is None else max(start, first), end, weight)
        for start, end, weight in spans
        if max(start, start if first is None else first) <= window.end
        and (first is None or end is None or end >= first)
    ]
    if not cut:
        return [], []
    is_open = any(end is None or end > window.end for _, end, _ in cut)
    times = {start for start, _, _ in cut} | {
        end for _, end, _ in cut if end is not None and end <= window.end
    }
    if is_open:
        times.add(window.end)
    return sorted(times), [level(cut, second) for second in sorted(times)]


def means(spans: list[tuple[int, int | None, float]], edges: list[float], end: float) -> list[float]:
    """The mean level between each two edges."""
    found = []
    for low, high in itertools.pairwise(edges):
        held = sum(
            weight * max(0.0, min(high, end if stop is None else stop, end) - max(low, start))
            for start, stop, weight in spans
        )
        found.append(held / (high - low))
    return found


# ---- tables ----


def durations(seconds: list[int]) -> dict[str, float]:
    values = [max(0, second) for second in seconds]
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    return {
        "count": len(values),
        "skewed": sum(second < 0 for second in seconds),
        "total_sec": sum(values),
        "mean_sec": statistics.mean(values),
        "median_sec": statistics.median(values),
        "p95_sec": cuts[94],
        "p99_sec": cuts[98],
        "max_sec": max(values),
    }


def spans_of_allocations(history: History, window: Window) -> dict[int, float]:
    """Node-seconds that each allocation's launchers had in the window."""
    return {
        one.id: one.nodes * _inside(one.start, one.end, window)
        for one in history.allocations
        if one.start is not None
    }


def _inside(start: int, end: int | None, window: Window) -> float:
    begin = start if window.after is None else max(start, window.after)
    stop = window.end if end is None else min(end, window.end)
    return max(0, stop - begin)


def failed(chosen: list[Run], window: Window) -> list[Run]:
    return [run for run in ended(chosen, window) if run.end is not None and run.end.new is J.run_error]


def ended(chosen: list[Run], window: Window) -> list[Run]:
    return [run for run in chosen if run.end is not None and window.holds(run.end.at)]


def signature(run: Run) -> str:
    assert run.end is not None
    return failure_signature(run.end.data["returncode"], run.end.data["error"])
