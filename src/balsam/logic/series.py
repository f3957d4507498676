"""Step functions from intervals, as plain arithmetic: the one implementation behind every report.

A series is two lists: times (microseconds since 1970 UTC, ascending) and the values that hold from each
time on. Intervals come as columns, and are worked on as columns: a loop over a million of them would take
longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from operator import le
from typing import NamedTuple, cast

Interval = tuple[int, int | None, float]  # start, end (None: still open), weight
Series = tuple[list[int], list[float]]
UNITS = 10**12  # weights are added as whole numbers of these parts: their sums do not drift


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` (None: the beginning) to `end`, at the latest the server's now."""

    start: int | None
    end: int

    @classmethod
    def of(cls, after: int | None, before: int | None, now: int) -> Window:
        return cls(after, now if before is None else min(before, now))


class Spans(NamedTuple):
    """Intervals as columns. One that ends before it starts counts as empty."""

    starts: Sequence[int]
    ends: Sequence[int | None]
    weights: Sequence[float]

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> Spans:
        rows = list(intervals)
        return cls([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    def rows(self) -> Iterable[Interval]:
        return zip(self.starts, self.ends, self.weights, strict=True)

    def cut(self, window: Window) -> Spans:
        """What of them lies in the window; None ends what goes on at its end."""
        first, last = window.start, window.end
        begun = [
            (start if first is None else max(start, first), end, weight)
            for start, end, weight in self.rows()
            if first is None or end is None or end >= first
        ]
        return Spans.of(
            (start, _end(start, end, last), weight) for start, end, weight in begun if start <= last
        )

    def is_cut(self, window: Window) -> bool:
        """Whether `cut` would change nothing."""
        if not self.starts:
            return True
        is_inside = max(self.starts) <= window.end and (
            window.start is None or min(self.starts) >= window.start
        )
        if None in self.ends:
            return is_inside and all(
                end is None or start <= end <= window.end
                for start, end in zip(self.starts, self.ends, strict=True)
            )
        ends = cast("Sequence[int]", self.ends)
        return is_inside and max(ends) <= window.end and all(map(le, self.starts, ends))


def _end(start: int, end: int | None, last: int) -> int | None:
    return None if end is None or end > last else max(start, end)


def cumulative(times: list[int]) -> tuple[list[int], list[int]]:
    """One point for each time, counts 1, 2, 3 ..."""
    return times, list(range(1, len(times) + 1))


def step_sum(spans: Spans, window: Window) -> Series:
    """The sum of the weights of the intervals that are open at each time at which one begins or ends.

    What began before the window counts from its start. Where something is still open at the window's end,
    one point there closes the series.
    """
    spans = spans if spans.is_cut(window) else spans.cut(window)
    if not spans.starts:
        return [], []
    # A change is one whole number: its time, and below that the number of its weight.
    weights = sorted(set(spans.weights))
    place = {weight: number for number, weight in enumerate(weights)}
    num_bits = (2 * len(weights)).bit_length()
    down = len(weights)
    changes = [
        start << num_bits | place[weight] for start, weight in zip(spans.starts, spans.weights, strict=True)
    ]
    changes += [
        end << num_bits | (place[weight] + down)
        for end, weight in zip(spans.ends, spans.weights, strict=True)
        if end is not None
    ]
    changes.sort()
    parts = [round(weight * UNITS) for weight in weights]
    steps = [*parts, *(-part for part in parts)]
    mask = (1 << num_bits) - 1
    levels = accumulate([steps[change & mask] for change in changes])
    last_level = dict(zip([change >> num_bits for change in changes], levels, strict=True))
    times, values = list(last_level), _nodes(list(last_level.values()))
    if None in spans.ends and times[-1] < window.end:
        times.append(window.end)
        values.append(values[-1])
    return times, values


def _nodes(levels: list[int]) -> list[float]:
    known = {level: max(0.0, round(level / UNITS, 9)) for level in set(levels)}
    return [known[level] for level in levels]


def area(spans: Spans, window: Window) -> float:
    """Weight times microseconds inside the window."""
    first, last = window.start, window.end
    total = 0.0
    for start, end, weight in spans.rows():
        begin = start if first is None else max(start, first)
        stop = last if end is None else min(end, last)
        total += weight * max(0, stop - begin)
    return total


def covered(spans: Spans, window: Window) -> int:
    """Microseconds of the window in which at least one of the intervals is open."""
    total, reached = 0, None
    for start, end, _ in sorted(spans.cut(window).rows(), key=lambda row: row[0]):
        stop = window.end if end is None else end
        begin = start if reached is None else max(start, reached)
        total += max(0, stop - begin)
        reached = stop if reached is None else max(stop, reached)
    return total


@dataclass(frozen=True, slots=True)
class Bins:
    """`number` equal parts of the time from `start` on, each `width` microseconds; the last ends at `end`."""

    start: int
    end: int
    number: int

    @property
    def width(self) -> int:
        return max(1, ceil((self.end - self.start) / self.number))

    def starts(self) -> list[int]:
        """Those of the parts that begin before the end; one at least."""
        return list(range(self.start, max(self.end, self.start + 1), self.width))

    def edges(self) -> list[int]:
        return [*self.starts(), max(self.end, self.start + 1)]


def counted(bins: Bins, counts: dict[int, int]) -> list[int]:
    """How many in each part, from the numbers of those parts that have any."""
    last = len(bins.starts()) - 1
    found = [0] * (last + 1)
    for number, count in counts.items():
        found[min(max(number, 0), last)] += count
    return found


class Moments(NamedTuple):
    """Intervals that start in part `first` and end in part `last`: their weight, and weight times each time.

    Times count from the first part's start.
    """

    first: int
    last: int
    weight: float
    weight_start: float
    weight_end: float


def means(bins: Bins, moments: Iterable[Moments]) -> list[float]:
    """The mean of the step function over each part."""
    edges = [edge - bins.start for edge in bins.edges()]
    number = len(edges) - 1
    change, inside = [0.0] * number, [0.0] * number
    for one in moments:
        for part, weight, weight_time in (
            (one.first, one.weight, one.weight_start),
            (one.last, -one.weight, -one.weight_end),
        ):
            part = min(max(part, 0), number - 1)
            change[part] += weight
            inside[part] += weight * edges[part + 1] - weight_time
    levels = [0.0, *accumulate(change)]
    return [
        max(0.0, round((levels[part] * (edges[part + 1] - edges[part]) + inside[part]) / width, 9))
        for part in range(number)
        if (width := edges[part + 1] - edges[part])
    ]


def moments(bins: Bins, spans: Spans) -> list[Moments]:
    """The same from intervals that are at hand."""
    cut = spans.cut(Window(bins.start, bins.end))
    return [
        _moment(bins, start - bins.start, (bins.end if end is None else end) - bins.start, weight)
        for start, end, weight in cut.rows()
    ]


def _moment(bins: Bins, start: int, end: int, weight: float) -> Moments:
    return Moments(start // bins.width, end // bins.width, weight, weight * start, weight * end)
