"""Throughput, utilization, available nodes and a campaign's summary, over the filters of the queries."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import now_us
from balsam.core.errors import Invalid
from balsam.core.states import JobState
from balsam.logic.quantiles import quantile
from balsam.logic.series import (
    Bins,
    Moments,
    Series,
    Spans,
    Window,
    area,
    counted,
    cumulative,
    means,
    moments,
    step_sum,
)
from balsam.store import figures, jobs
from balsam.store.figures import Group, Unit
from balsam.store.groups import allocation_names, is_of_allocations
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.scope import Scope

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000
ENTRIES_PER_PART = 4
Answer = dict[str, Any]


def throughput(conn: Connection, scope: Scope, to_state: str, by: str | None, bins: int | None) -> Answer:
    """One point for each chosen event that entered `to_state`; with `bins`, how many by each one's end."""
    if bins is None:
        found = figures.entries(conn, scope, by, to_state)
        return _answer(by, {group: cumulative(sorted(times)) for group, (times,) in found.items()})
    parts, counts = _entry_counts(conn, scope, to_state, by, bins)
    return _answer(
        by, {group: (parts.edges()[1:], list(accumulate(found))) for group, found in counts.items()}
    )


def throughput_rates(conn: Connection, scope: Scope, to_state: str, by: str | None, bins: int) -> Answer:
    """Entries to `to_state` per hour, in `bins` parts of the time at most.

    A part is a second long at least and there are ENTRIES_PER_PART for each on average, for a rate that rests
    on the time between two entries says nothing. Without a window the time is that from the first run on:
    jobs end after they ran, not from the end of one to the next.
    """
    found = figures.entry_range(conn, scope, to_state)
    if found is None:
        return _answer(by, {})
    start, end = _time_of_rates(conn, scope, *found)
    parts = Bins(start, end, min(bins, max(1, (end - start) // SECOND_US)))
    counts = _counts(conn, scope, to_state, by, parts)
    wanted = max(1, sum(map(sum, counts.values())) // ENTRIES_PER_PART)
    if wanted < parts.number:
        parts = Bins(start, end, wanted)
        counts = _counts(conn, scope, to_state, by, parts)
    edges = parts.edges()
    widths = [after - before for before, after in pairwise(edges)]
    rates = {
        group: [count * HOUR_US / width for count, width in zip(found, widths, strict=True)]
        for group, found in counts.items()
    }
    return _answer(by, {group: _closed(parts, values) for group, values in rates.items()})


def _time_of_rates(conn: Connection, scope: Scope, first: int, last: int) -> tuple[int, int]:
    """The window; where it is open, from the first to the last of the entries and of the runs."""
    if scope.after is not None and scope.before is not None:
        return scope.after, min(scope.before, max(scope.now, last))
    begun, ended, goes_on = figures.span_range(conn, scope) or (first, last, False)
    end = scope.before if scope.before is not None else scope.now if goes_on else ended
    end = max(last, min(end, scope.now))
    start = min(first, begun, end - SECOND_US) if scope.after is None else scope.after
    return start, max(end, start + 1)


def _entry_counts(
    conn: Connection, scope: Scope, to_state: str, by: str | None, bins: int
) -> tuple[Bins, dict[Group, list[int]]]:
    found = figures.entry_range(conn, scope, to_state)
    if found is None:
        return Bins(0, 0, 1), {}
    first, last = found
    end = last if scope.before is None else min(scope.before, max(scope.now, last))
    parts = Bins(first if scope.after is None else scope.after, end, bins)
    return parts, _counts(conn, scope, to_state, by, parts)


def _counts(
    conn: Connection, scope: Scope, to_state: str, by: str | None, parts: Bins
) -> dict[Group, list[int]]:
    """How many entries in each part."""
    numbers: dict[Group, dict[int, int]] = {}
    for group, number, count in figures.entry_bins(conn, scope, by, to_state, parts.start, parts.width):
        numbers.setdefault(group, {})[number] = count
    return {group: counted(parts, by_bin) for group, by_bin in numbers.items()}


def utilization(conn: Connection, scope: Scope, unit: Unit, by: str | None, bins: int | None) -> Answer:
    """What the runs of the scope keep busy; with `bins`, its mean over each."""
    window = window_of(scope)
    if bins is None:
        found = figures.spans(conn, scope, by, unit)
        series = {group: step_sum(Spans(*columns), window) for group, columns in found.items()}
        return _answer(by, {group: one for group, one in series.items() if one[0]})
    span = figures.span_range(conn, scope)
    if span is None or (parts := _parts(scope, window, *span, bins)) is None:
        return _answer(by, {})
    _, last, is_open = span
    grouped: dict[Group, list[Moments]] = {}
    end = parts.end if is_open or last > parts.end else None
    rows = figures.span_moments(conn, scope, by, unit, parts.start, parts.width, end)
    for group, *values in rows:
        grouped.setdefault(group, []).append(Moments(*values))
    return _answer(by, {group: _closed(parts, means(parts, some)) for group, some in grouped.items()})


def available_nodes(conn: Connection, scope: Scope, by: str | None, bins: int | None) -> Answer:
    """Nodes on which launchers of the scope's BatchJobs were there to run jobs; with `bins`, their mean."""
    if not is_of_allocations(by):
        raise Invalid(f"group_by={by!r}: nodes that are available are grouped by {allocation_names()}")
    window = window_of(scope)
    rows = figures.launcher_spans(conn, scope, by)
    grouped: dict[Group, list[tuple[int, int | None, float]]] = {}
    for group, _, start, end, nodes in rows:
        grouped.setdefault(group, []).append((start, end, float(nodes)))
    spans = {group: Spans.of(some).cut(window) for group, some in grouped.items()}
    spans = {group: some for group, some in spans.items() if some.starts}
    if bins is None:
        return _answer(by, {group: step_sum(some, window) for group, some in spans.items()})
    every = [row for some in spans.values() for row in some.rows()]
    if not every:
        return _answer(by, {})
    last = max(start if end is None else end for start, end, _ in every)
    is_open = any(end is None for _, end, _ in every)
    parts = _parts(scope, window, min(start for start, _, _ in every), last, is_open, bins)
    if parts is None:
        return _answer(by, {})
    return _answer(
        by, {group: _closed(parts, means(parts, moments(parts, some))) for group, some in spans.items()}
    )


def _parts(scope: Scope, window: Window, first: int, last: int, is_open: bool, bins: int) -> Bins | None:
    """The window in equal parts; where it has no start or end, from the first to the last that is known."""
    start = first if window.start is None else window.start
    end = window.end if is_open or scope.before is not None else min(last, window.end)
    return Bins(start, end, bins) if start <= end else None


def _closed(parts: Bins, values: list[float]) -> Series:
    """A value for each part, and one point at the end that closes the series."""
    return parts.edges(), [*values, values[-1]]


def _answer(by: str | None, series: dict[Group, tuple[list[int], Any]]) -> Answer:
    if by is None:
        times, values = series.get(None, ([], []))
        return {"times_us": times, "values": values}
    return {
        "groups": [
            {"group": group, "times_us": series[group][0], "values": series[group][1]}
            for group in in_order(series)
        ]
    }


def window_of(scope: Scope) -> Window:
    return Window.of(scope.after, scope.before, scope.now)


def in_order(groups: Iterable[Group]) -> list[Group]:
    """Numbers by size, also those that are texts as tags are; then texts; None last."""
    return sorted(groups, key=_rank)


def _rank(group: Group) -> tuple[int, float, str]:
    if group is None:
        return 2, 0.0, ""
    try:
        return 0, float(group), str(group)
    except ValueError:
        return 1, 0.0, str(group)


def summary(conn: Connection, owner: Owner, f: JobFilter) -> Answer:
    """Jobs by state, time in each state, and the node-hours of the allocations that ran these jobs."""
    scope = Scope.of(conn, owner, f, now=now_us())
    stays = figures.stays(conn, scope, None)
    window = Window(None, scope.now)
    busy = figures.spans(conn, scope, None, Unit.node).get(None)
    launchers = figures.launcher_spans(conn, scope, None)
    available = Spans.of((start, end, float(nodes)) for _, _, start, end, nodes in launchers)
    return {
        "jobs_by_state": jobs.count_by_state(conn, owner, f),
        "state_times": [
            {"state": state, "stays": len(times), "median_sec": _median_sec(times)}
            for (_, state), times in stays.items()
            if state != JobState.created
        ],
        "node_hours_busy": area(Spans(*busy), window) / HOUR_US if busy else 0.0,
        "node_hours_available": area(available, window) / HOUR_US,
        "skewed_events": sum(us < 0 for times in stays.values() for us in times),
    }


def _median_sec(times: list[int]) -> float:
    return quantile(sorted(max(0, us) for us in times), 0.5) / 1e6
