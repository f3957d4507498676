"""Charts of matplotlib, each into an axis: from data that is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam.report import words
from balsam.report.charts import KIND_WORDS, gantt
from balsam.report.charts import WIDTH as GANTT_WIDTH
from balsam.report.scales import Times
from balsam.schemas.analytics import Failures, NodeHours, NodeTimeline, StateTimes
from balsam.sdk.figures import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUSY, AVAILABLE, SOFT = "#2a6fd0", "#c9ced8", "#5b606b"
COLOURS = {"done": BUSY, "error": "#c93a36", "timeout": "#d08a12", "running": "#58a08b"}
MAX_ROWS = 20


def draw_series(ax: Axes, series: Mapping[str, Series], ylabel: str) -> Axes:
    """Steps over time, one for each name; without a name there is no legend."""
    for name, (times, values) in series.items():
        colour = None if name else BUSY
        ax.step(
            _numbers(times),
            values,
            "-",
            color=colour,
            where="post",
            linewidth=1.5,
            label=drawable(name) or None,
        )
    if any(series):
        ax.legend(frameon=False, fontsize="small")
    return _over_time(ax, ylabel)


def draw_nodes(ax: Axes, available: Series, busy: Series) -> Axes:
    """Busy nodes before those that were available."""
    ax.fill_between(
        _numbers(available[0]),
        available[1],
        step="post",
        color=AVAILABLE,
        alpha=0.6,
        linewidth=0,
        label="available",
    )
    ax.step(_numbers(busy[0]), busy[1], where="post", color=BUSY, linewidth=1.3, label="busy")
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return _over_time(ax, "nodes")


def draw_timeline(
    ax: Axes, nodes: Sequence[NodeTimeline], times: Times | None, now: datetime, *, note: str = ""
) -> Axes:
    """Runs as bars in the rows of their nodes, coloured by how they ended.

    `note`: which runs these are, where they are not all; nodes that there is no room for are counted.
    """
    chart = gantt(nodes, times, now)
    if chart is None or times is None:
        return ax
    start, end = _numbers([times.start, times.end])
    for kind in chart.kinds:
        boxes = [box for box in chart.boxes if box.kind == kind]
        ax.barh(
            [box.y for box in boxes],
            [box.width / GANTT_WIDTH * (end - start) for box in boxes],
            [box.height for box in boxes],
            [start + box.x / GANTT_WIDTH * (end - start) for box in boxes],
            align="edge",
            color=COLOURS[kind],
            edgecolor="white",
            linewidth=0.2,
            label=KIND_WORDS[kind],
        )
    ax.set_yticks(
        [row.y + row.height / 2 for row in chart.rows],
        [drawable(row.label) for row in chart.rows],
        parse_math=False,
    )
    ax.set_ylim(chart.height, 0)
    ax.legend(frameon=False, fontsize="small", ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    _dates(ax)
    away = f"{words.counted(chart.nodes_left_out, 'node')} more left out" if chart.nodes_left_out else ""
    ax.set_xlabel("; ".join(part for part in (note, away) if part), fontsize="small", color=SOFT)
    return _bare(ax)


def draw_state_times(ax: Axes, rows: Sequence[StateTimes]) -> Axes:
    """For each state the median, a bar to 95 % and a tick at 99 %, in seconds on a logarithmic axis."""
    places = range(len(rows))
    # What took no time has no place on a logarithmic axis.
    medians, p95, p99 = (
        [value or float("nan") for value in values]
        for values in (
            [row.median_sec for row in rows],
            [row.p95_sec for row in rows],
            [row.p99_sec for row in rows],
        )
    )
    least = min((value for value in (*medians, *p95, *p99) if value > 0), default=None)
    starts = [row.median_sec or least or 1.0 for row in rows]
    ax.hlines(places, starts, p95, color=AVAILABLE, linewidth=6, label="to 95 %")
    ax.plot(p99, places, "|", color=SOFT, markersize=9, label="99 %")
    ax.plot(medians, places, "o", color=BUSY, markersize=5, label="median")
    if least is not None:
        ax.set_xscale("log")
    ax.set_yticks(places, [row.state for row in rows])
    ax.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    ax.set_xlabel("seconds")
    if rows:
        ax.legend(frameon=False, fontsize="small", ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return _bare(ax)


def draw_node_hours(ax: Axes, rows: Sequence[NodeHours], *, left_out: int = 0) -> Axes:
    """Node-hours busy and idle of the groups with the most, `MAX_ROWS` of them.

    How many more there are is said, with the `left_out` that are not among the rows.
    """
    shown = sorted(rows, key=lambda row: -(row.busy + row.idle))[:MAX_ROWS]
    names, busy = [words.group(row.group) for row in shown], [row.busy for row in shown]
    places = range(len(shown))
    ax.barh(places, busy, color=BUSY, label="busy")
    ax.barh(places, [row.idle for row in shown], left=busy, color=AVAILABLE, label="idle")
    ax.set_xlabel(_label("node-hours", len(rows) - len(shown) + left_out))
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return _named(ax, names)


def draw_failures(ax: Axes, rows: Sequence[Failures], *, left_out: int = 0) -> Axes:
    """How many runs failed in each group, the most frequent first, `MAX_ROWS` of them.

    How many more there are is said, with the `left_out` that are not among the rows.
    """
    from matplotlib.ticker import MaxNLocator

    shown = rows[:MAX_ROWS]
    places = range(len(shown))
    ax.barh([place + 0.25 for place in places], [row.failures for row in shown], 0.3, color=COLOURS["error"])
    for place, row in zip(places, shown, strict=True):
        # Above its bar: beside it, long signatures would leave no room for anything else.
        name = words.cut(drawable(words.group(row.group)), 120)
        ax.text(0, place - 0.1, name, fontsize="small", va="center", clip_on=True, parse_math=False)
    ax.set_xlabel(_label("failed runs", len(rows) - len(shown) + left_out))
    ax.set_yticks([])
    ax.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _bare(ax)


def drawable(text: str) -> str:
    """Without control characters, which no font has and no SVG may hold."""
    return "".join(character if character.isprintable() else " " for character in text)


def show_span(ax: Axes, times: Times) -> None:
    """Cuts or widens the axis of time."""
    start, end = _numbers([times.start, times.end])
    margin = (end - start) * 0.02
    ax.set_xlim(start - margin, end + margin)


def _label(axis: str, left_out: int) -> str:
    return f"{axis} ({words.counted(left_out, 'group')} more left out)" if left_out else axis


def _over_time(ax: Axes, ylabel: str) -> Axes:
    ax.set_ylabel(ylabel)
    ax.set_ylim(bottom=0)
    _dates(ax)
    return _bare(ax)


def _named(ax: Axes, names: Sequence[str]) -> Axes:
    # A name with a dollar in it is no formula.
    ax.set_yticks(range(len(names)), [drawable(name) for name in names], parse_math=False)
    ax.set_ylim(max(1, len(names)) - 0.5, -0.5)
    return _bare(ax)


def _dates(ax: Axes) -> None:
    from matplotlib import dates

    made: Any = dates  # whose classes have no types
    locator = made.AutoDateLocator(maxticks=7)
    ax.xaxis.set_major_locator(locator)
    days = ["", "%Y UTC", "%Y-%b UTC", "%Y-%b-%d UTC", "%Y-%b-%d UTC", "%Y-%b-%d %H:%M UTC"]
    ax.xaxis.set_major_formatter(made.ConciseDateFormatter(locator, offset_formats=days))


def _numbers(times: Sequence[datetime]) -> list[float]:
    """As matplotlib counts time, so that others may draw datetimes into the same axis."""
    from matplotlib import dates

    made: Any = dates
    return [float(number) for number in made.date2num(list(times))]


def _bare(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax
