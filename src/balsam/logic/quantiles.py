"""What a list of durations says at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds. `skewed`: how many would be shorter than nothing, by clocks that disagree; they count as 0."""

    count: int
    skewed: int
    total_sec: float
    mean_sec: float
    median_sec: float
    p95_sec: float
    p99_sec: float
    max_sec: float


def durations(micros: Sequence[int]) -> Durations | None:
    """Of microseconds in any order; None where there are none."""
    if not micros:
        return None
    ordered = sorted(micros)
    skewed = _below_zero(ordered)
    ordered[:skewed] = [0] * skewed
    total = sum(ordered)
    return Durations(
        count=len(ordered),
        skewed=skewed,
        total_sec=total / 1e6,
        mean_sec=total / len(ordered) / 1e6,
        median_sec=quantile(ordered, 0.5) / 1e6,
        p95_sec=quantile(ordered, 0.95) / 1e6,
        p99_sec=quantile(ordered, 0.99) / 1e6,
        max_sec=ordered[-1] / 1e6,
    )


def quantile(ordered: Sequence[int], share: float) -> float:
    """Of ascending values, with straight lines between them (method 7 of Hyndman and Fan, 1996)."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _below_zero(ordered: Sequence[int]) -> int:
    return next((number for number, value in enumerate(ordered) if value >= 0), len(ordered))
