"""`balsam.analytics.plot_*`: what the analytics tell, drawn by matplotlib (the extra `plot`) into an axis.

Each draws into `ax`, or into pyplot's current axis without one, and returns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from balsam import analytics
from balsam.core.clock import UtcDatetime, now_us
from balsam.core.states import JobState
from balsam.report import drawing, words
from balsam.report.charts import span_of
from balsam.schemas.analytics import Group
from balsam.sdk.figures import AnyQuery, Series, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "plot_available_nodes",
    "plot_failures",
    "plot_node_hours",
    "plot_state_times",
    "plot_throughput",
    "plot_throughput_rates",
    "plot_timeline",
    "plot_utilization",
]
BINS = 400


def plot_throughput(
    query: AnyQuery,
    ax: Axes | None = None,
    *,
    to_state: JobState | str = JobState.job_finished,
    bins: int | None = BINS,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Axes:
    """How many jobs had entered `to_state`, one line for each group."""
    ax = _axis(ax)
    if group_by is None:
        times, counts = analytics.throughput_report(query, to_state, bins=bins, **window)
        found = {"": (times, [float(count) for count in counts])}
    else:
        by_group = analytics.throughput_report(query, to_state, bins=bins, group_by=group_by, **window)
        found = {words.group(name): (times, [*map(float, some)]) for name, (times, some) in by_group.items()}
    return drawing.draw_series(ax, found, _entered(to_state))


def plot_throughput_rates(
    query: AnyQuery,
    ax: Axes | None = None,
    *,
    to_state: JobState | str = JobState.job_finished,
    bins: int = 60,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Axes:
    """How many jobs entered `to_state` per hour, one line for each group."""
    ax = _axis(ax)
    if group_by is None:
        found = {"": analytics.throughput_rates(query, to_state, bins=bins, **window)}
    else:
        by_group = analytics.throughput_rates(query, to_state, bins=bins, group_by=group_by, **window)
        found = _named(by_group)
    return drawing.draw_series(ax, found, f"{_entered(to_state)} per hour")


def plot_utilization(
    query: AnyQuery,
    ax: Axes | None = None,
    *,
    unit: analytics.Unit = "node",
    bins: int | None = BINS,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Axes:
    """What runs keep busy: nodes before those that were available; or another unit, or groups, as lines."""
    ax = _axis(ax)
    if group_by is not None:
        by_group = analytics.utilization_report(query, unit=unit, bins=bins, group_by=group_by, **window)
        return drawing.draw_series(ax, _named(by_group), _busy(unit))
    busy = analytics.utilization_report(query, unit=unit, bins=bins, **window)
    if unit != "node":
        return drawing.draw_series(ax, {"": busy}, _busy(unit))
    return drawing.draw_nodes(ax, analytics.available_nodes(query, bins=bins, **window), busy)


def plot_available_nodes(
    query: AnyQuery,
    ax: Axes | None = None,
    *,
    bins: int | None = BINS,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Axes:
    """Nodes on which launchers were there to run jobs, one line for each group."""
    ax = _axis(ax)
    if group_by is None:
        found = {"": analytics.available_nodes(query, bins=bins, **window)}
    else:
        found = _named(analytics.available_nodes(query, bins=bins, group_by=group_by, **window))
    return drawing.draw_series(ax, found, "available nodes")


def plot_timeline(
    query: AnyQuery, ax: Axes | None = None, *, limit: int = 3_000, **window: Unpack[Window]
) -> Axes:
    """The newest runs, `limit` at most, as bars on their nodes."""
    nodes = analytics.timeline(query, limit=limit, **window)
    now = UtcDatetime.of_us(now_us())
    shown = len({bar.run_id for node in nodes for bar in node.bars})
    note = f"the newest {words.counted(shown, 'run')}" if shown >= limit else ""
    return drawing.draw_timeline(_axis(ax), nodes, span_of(nodes, now), now, note=note)


def plot_state_times(query: AnyQuery, ax: Axes | None = None, **window: Unpack[Window]) -> Axes:
    """How long jobs stay in each state: median, 95 % and 99 %, on a logarithmic axis."""
    return drawing.draw_state_times(_axis(ax), analytics.state_times(query, **window))


def plot_node_hours(
    query: AnyQuery, ax: Axes | None = None, *, group_by: str = "app", **window: Unpack[Window]
) -> Axes:
    """Node-hours busy and idle of the groups that had the most."""
    return drawing.draw_node_hours(_axis(ax), analytics.node_hours(query, group_by, **window))


def plot_failures(
    query: AnyQuery, ax: Axes | None = None, *, group_by: str = "signature", **window: Unpack[Window]
) -> Axes:
    """Failed runs by what they have in common, the most frequent first."""
    return drawing.draw_failures(_axis(ax), analytics.failures(query, group_by, **window))


def _axis(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot  # only here: it chooses a backend when it is imported

    return pyplot.gca()


def _named(by_group: dict[Group, Series]) -> dict[str, Series]:
    return {words.group(name): series for name, series in by_group.items()}


def _entered(state: JobState | str) -> str:
    name = JobState(state)
    return "jobs finished" if name is JobState.job_finished else f"entries to {name.value}"


def _busy(unit: analytics.Unit) -> str:
    return {"job": "runs at a time", "node": "busy nodes", "cpu": "busy CPU cores", "gpu": "busy GPUs"}[unit]
