"""Step functions from intervals, as plain arithmetic: the one implementation behind every report.

A series is two lists: times (microseconds since 1970 UTC, ascending) and the values that hold from each
time on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Interval = tuple[int, int | None, float]  # start, end (None: still open), weight


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` (None: the beginning) to `end`, at the latest the server's now."""

    start: int | None
    end: int

    @classmethod
    def of(cls, after: int | None, before: int | None, now: int) -> Window:
        return cls(after, now if before is None else min(before, now))


def cumulative(times: list[int]) -> tuple[list[int], list[int]]:
    """One point for each time, counts 1, 2, 3 ..."""
    return times, list(range(1, len(times) + 1))


def step_sum(intervals: Iterable[Interval], window: Window) -> tuple[list[int], list[float]]:
    """The sum of the weights of the intervals that are open at each time at which it changes.

    What began before the window counts from its start. Where something is still open at the window's end,
    one point there closes the series. An interval that ends before it starts counts as empty.
    """
    change: dict[int, float] = {}
    still_open = False
    for start, end, weight in intervals:
        start = start if window.start is None else max(start, window.start)
        if start > window.end or (window.start is not None and end is not None and end < window.start):
            continue
        change[start] = change.get(start, 0.0) + weight
        if end is None or end > window.end:
            still_open = True
        else:
            stop = max(start, end)
            change[stop] = change.get(stop, 0.0) - weight
    times = sorted(change)
    values, level = [], 0.0
    for time in times:
        level += change[time]
        values.append(_clean(level))
    if still_open and times[-1] < window.end:
        times.append(window.end)
        values.append(values[-1])
    return times, values


def _clean(level: float) -> float:
    """Sums of thirds drift by 1e-16 a step: what is meant to be 0 or 1 is 0 or 1, and never below 0."""
    return max(0.0, round(level, 9))


def area(intervals: Iterable[Interval], window: Window) -> float:
    """Weight times microseconds inside the window."""
    total = 0.0
    for start, end, weight in intervals:
        begin = start if window.start is None else max(start, window.start)
        stop = window.end if end is None else min(end, window.end)
        total += weight * max(0, stop - begin)
    return total


def median(values: list[int]) -> float:
    """The middle of the values; the mean of the two middle ones where their number is even."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
