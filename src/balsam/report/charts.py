"""Shapes of a page's charts: values in, places out; the page's template writes them as SVG.

A plot is WIDTH x its height in units of its own and is stretched to the width that there is, so that no text
is in it: what it says stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from balsam.core.clock import UtcDatetime
from balsam.core.node_names import short_names
from balsam.core.states import JobState
from balsam.report import words
from balsam.report.scales import Logarithmic, Tick, Times, top, value_ticks
from balsam.schemas.analytics import Bar, NodeHours, NodeTimeline, StateTimes
from balsam.sdk.figures import Series

WIDTH, HEIGHT = 1000.0, 200.0
LANE, THIN_LANE, NODE_GAP = 12.0, 2.0, 6.0
MAX_ROWS = 900.0  # how high a timeline may be
MIN_BAR = 1.0
LABEL_CHARS = 18  # of a node's name beside its row


@dataclass(frozen=True, slots=True)
class Line:
    """A series: `path` as of SVG; `kind` is its class, of which the style knows the colour."""

    label: str
    kind: str
    path: str
    area: str


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a pointer is told the values of one bin."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Steps:
    """Series over time."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    hits: list[Hit]


def steps(series: Sequence[tuple[str, str, Series]], times: Times | None, unit: str = "") -> Steps | None:
    """A chart of (label, kind, series), None where all are empty; a value holds until the next time."""
    full = [one for one in series if one[2][0]]
    if times is None or not full:
        return None
    highest = top([value for _, _, (_, values) in full for value in values])
    lines = [Line(label, kind, *_paths(found, times, highest)) for label, kind, found in full]
    return Steps(lines, times.ticks(), value_ticks(highest), _hits(full, times, unit))


def held(series: Series, times: Times | None) -> Series:
    """What was counted stays so behind its last moment, up to the end of the axis."""
    moments, values = series
    if times is None or not moments or moments[-1] >= times.end:
        return series
    return [*moments, UtcDatetime.of(times.end)], [*values, values[-1]]


def _paths(series: Series, times: Times, highest: float) -> tuple[str, str]:
    points = [
        (times.at(moment) * WIDTH, HEIGHT * (1 - value / highest))
        for moment, value in zip(*series, strict=True)
    ]
    start = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    line = start + "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
    return line, f"{line}V{HEIGHT:.0f}H{points[0][0]:.1f}Z"


def _hits(series: Sequence[tuple[str, str, Series]], times: Times, unit: str) -> list[Hit]:
    moments, _ = max((found for _, _, found in series), key=lambda found: len(found[0]))
    hits = []
    for start, end in pairwise(moments):
        told = "; ".join(f"{label}: {words.number(_value(found, start))}" for label, _, found in series)
        x, until = times.at(start) * WIDTH, times.at(end) * WIDTH
        hits.append(Hit(round(x, 1), round(until - x, 1), f"{words.moment(start)}: {told} {unit}".strip()))
    return hits


def _value(series: Series, moment: datetime) -> float:
    """What holds at a moment; 0 before the first and after the last."""
    held = 0.0
    for time, value in zip(*series, strict=True):
        if time > moment:
            return held
        held = value
    return held if series[0][-1] >= moment else 0.0


def excess(busy: Series, available: Series) -> float:
    """How far what is busy stands above what is available, where that is more than a hundredth of it.

    Both are means over parts of time that need not be the same: what is available is the most of the parts
    about. 0 where nothing is known of what was available.
    """
    times, had = available
    if not times:
        return 0.0
    found, first = 0.0, 0
    for (start, end), value in zip(pairwise(busy[0]), busy[1], strict=False):
        while first + 1 < len(times) and times[first + 1] < start:
            first += 1
        last = first
        while last + 1 < len(times) and times[last] <= end:
            last += 1
        above = value - max(had[max(0, first - 1) : last + 1])
        found = max(found, above if above > 0.01 * value else 0.0)
    return found


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A node of a timeline, and where its name stands; `label`: the name where there is little room."""

    name: str
    label: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Gantt:
    """Runs on nodes."""

    rows: list[Row]
    boxes: list[Box]
    x_ticks: list[Tick]
    height: float
    kinds: list[str]
    nodes_left_out: int = 0


KINDS = {
    JobState.run_done: "done",
    JobState.run_error: "error",
    JobState.run_timeout: "timeout",
    None: "running",
}
KIND_WORDS = {"done": "done", "error": "failed", "timeout": "timed out", "running": "still running"}


def gantt(nodes: Sequence[NodeTimeline], times: Times | None, now: datetime) -> Gantt | None:
    """A chart of runs per node, as many nodes as there is room for; None where there are none."""
    if times is None or not nodes:
        return None
    lanes = sum(_lanes(node) for node in nodes)
    lane = max(THIN_LANE, min(LANE, MAX_ROWS / lanes))
    rows, boxes, y = list[Row](), list[Box](), 0.0
    names = [node.node or "(no node named)" for node in nodes]
    for node, name, label in zip(nodes, names, short_names(names, LABEL_CHARS), strict=True):
        height = max(_lanes(node) * lane, LANE)
        if rows and y + height > MAX_ROWS:
            break
        rows.append(Row(name, label, y, height))
        boxes += [_box(bar, times, y, lane, now) for bar in node.bars]
        y += height + NODE_GAP
    kinds = [kind for kind in KIND_WORDS if any(box.kind == kind for box in boxes)]
    return Gantt(rows, boxes, times.ticks(), round(y - NODE_GAP, 1), kinds, len(nodes) - len(rows))


def _lanes(node: NodeTimeline) -> int:
    return 1 + max((bar.lane for bar in node.bars), default=0)


def _box(bar: Bar, times: Times, y: float, lane: float, now: datetime) -> Box:
    end = bar.end or max(now, bar.start)
    kind = KINDS.get(None if bar.end_state is None else JobState(bar.end_state), "error")
    x = times.at(bar.start) * WIDTH
    width = max(MIN_BAR, times.at(end) * WIDTH - x)
    x = min(x, WIDTH - width)
    took = words.duration((end - bar.start).total_seconds())
    text = f"job {bar.job_id} ({bar.app}): {took}, {KIND_WORDS[kind]}"
    gap = 1.0 if lane > 4 else 0.0
    return Box(round(x, 1), round(y + bar.lane * lane, 1), round(width, 1), round(lane - gap, 1), kind, text)


@dataclass(frozen=True, slots=True)
class Range:
    """Where median, 95 % and 99 % of a state's stays are on the common axis, 0 to WIDTH.

    `median` and `p99` None: a stay of no time, which has no place on a logarithmic axis.
    """

    row: StateTimes
    median: float | None
    p95: float
    p99: float | None


@dataclass(frozen=True, slots=True)
class Ranges:
    rows: list[Range] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)


def ranges(rows: Sequence[StateTimes]) -> Ranges:
    """State times on a logarithmic axis, which says little where all are 0."""
    values = [value for row in rows for value in (row.median_sec, row.p95_sec, row.p99_sec)]
    axis = Logarithmic.over(values)
    return Ranges(
        [
            Range(
                row,
                round(axis.at(row.median_sec) * WIDTH, 1) if row.median_sec else None,
                round(axis.at(row.p95_sec) * WIDTH, 1),
                round(axis.at(row.p99_sec) * WIDTH, 1) if row.p99_sec else None,
            )
            for row in rows
        ],
        [Tick(axis.at(value), words.duration(value)) for value in axis.ticks()],
    )


@dataclass(frozen=True, slots=True)
class Hours:
    """Node-hours of a group, and how long the bars of what was busy and idle are."""

    row: NodeHours
    busy: float
    idle: float


def hours(rows: Sequence[NodeHours]) -> list[Hours]:
    longest = max((row.busy + row.idle for row in rows), default=0.0) or 1.0
    return [
        Hours(row, round(row.busy / longest * WIDTH, 1), round(row.idle / longest * WIDTH, 1)) for row in rows
    ]


def span_of(nodes: Sequence[NodeTimeline], now: datetime) -> Times | None:
    """From the first start to the last end of these runs."""
    bars = [bar for node in nodes for bar in node.bars]
    return Times.over([bar.start for bar in bars] + [bar.end or max(now, bar.start) for bar in bars])
