"""How well nodes were used: node-hours, Little's law, scaling, and when what is left will be done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from sqlalchemy import Connection

from balsam.core.states import DONE_STATES, RUNNABLE_STATES, JobState
from balsam.logic.analytics import HOUR_US, in_order, window_of
from balsam.logic.quantiles import quantile
from balsam.logic.series import Interval, Spans, Window, area, covered
from balsam.store import figures
from balsam.store.figures import Group, Unit
from balsam.store.groups import is_of_allocations
from balsam.store.scope import Scope

Row = dict[str, Any]
RATE_US = HOUR_US  # how far a rate looks back where no window says so


@dataclass(slots=True)
class _Hours:
    """Sums of one group, in node microseconds and the like."""

    runs: int = 0
    busy: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0
    idle: float = 0.0
    available: float = 0.0
    unplaced: float = 0.0
    by_batch_job: dict[int, float] = field(default_factory=lambda: defaultdict(float))


def node_hours(conn: Connection, scope: Scope, by: str | None) -> list[Row]:
    """Node-hours busy and idle by group, in the window.

    Idle is what the launchers of an allocation had and no run used, whichever jobs the scope chooses. Where
    groups share allocations (by app, tag ...), it is shared out by the node-hours that each kept busy there.

    `unplaced` is what was busy and no launcher is known to have had: runs outside of any BatchJob, of one
    whose times nobody told, or, where clocks disagree, more than its launchers had. It is no part of the
    fraction.
    """
    window = window_of(scope)
    groups: dict[Group, _Hours] = defaultdict(_Hours)
    for group, batch_job, start, end, nodes, cpus, gpus in figures.run_spans(conn, scope, by):
        length = _length(start, end, window)
        told = groups[group]
        told.runs += 1
        told.busy += length * nodes
        told.cpu += length * cpus
        told.gpu += length * gpus
        if batch_job is not None:
            told.by_batch_job[batch_job] += length * nodes
    group_of, had, used = _allocations(conn, scope, by, window)
    for told in groups.values():
        told.unplaced = _unplaced(told, had, used)
    _add_idle(groups, group_of, had, used, whole=is_of_allocations(by))
    return [_hours(group, groups[group]) for group in in_order(groups)]


def _allocations(
    conn: Connection, scope: Scope, by: str | None, window: Window
) -> tuple[dict[int, Group], dict[int, float], dict[int, float]]:
    """Of each BatchJob: its group, what its launchers had, and what all runs in it kept busy."""
    group_of: dict[int, Group] = {}
    had: dict[int, float] = defaultdict(float)
    for group, batch_job, start, end, nodes in figures.launcher_spans(conn, scope, by):
        group_of[batch_job] = group
        had[batch_job] += _length(start, end, window) * nodes
    used: dict[int, float] = defaultdict(float)
    for batch_job, start, end, nodes in figures.spans_of_batch_jobs(conn, scope):
        used[batch_job] += _length(start, end, window) * nodes
    return group_of, had, used


def _unplaced(told: _Hours, had: Mapping[int, float], used: Mapping[int, float]) -> float:
    """Of what a group kept busy, the share of each allocation that goes beyond what its launchers had."""
    inside = sum(
        busy * min(1.0, had.get(batch_job, 0.0) / used[batch_job])
        for batch_job, busy in told.by_batch_job.items()
        if used.get(batch_job)
    )
    return max(0.0, told.busy - inside)


def _add_idle(
    groups: dict[Group, _Hours],
    group_of: Mapping[int, Group],
    had: Mapping[int, float],
    used: Mapping[int, float],
    *,
    whole: bool,
) -> None:
    idle = {batch_job: max(0.0, nodes - used.get(batch_job, 0.0)) for batch_job, nodes in had.items()}
    if whole:
        for batch_job, group in group_of.items():
            groups[group].idle += idle[batch_job]
            groups[group].available += had[batch_job]
        return
    for told in groups.values():
        for batch_job, busy in told.by_batch_job.items():
            if used.get(batch_job):
                told.idle += idle.get(batch_job, 0.0) * busy / used[batch_job]
        told.available = told.busy - told.unplaced + told.idle
    unused = sum(idle[batch_job] for batch_job in had if not used.get(batch_job))
    if unused:
        groups[None].idle += unused
        groups[None].available += unused


def _hours(group: Group, told: _Hours) -> Row:
    return {
        "group": group,
        "runs": told.runs,
        "busy": told.busy / HOUR_US,
        "idle": told.idle / HOUR_US,
        "available": told.available / HOUR_US,
        "busy_fraction": (told.busy - told.unplaced) / told.available if told.available else None,
        "unplaced": told.unplaced / HOUR_US,
        "cpu_hours": told.cpu / HOUR_US,
        "gpu_hours": told.gpu / HOUR_US,
    }


def _length(start: int, end: int | None, window: Window) -> int:
    begin = start if window.start is None else max(start, window.start)
    return max(0, (window.end if end is None else min(end, window.end)) - begin)


def littles_law(conn: Connection, scope: Scope, by: str | None, unit: Unit) -> list[Row]:
    """By group: throughput times mean run time, beside the concurrency that was measured.

    J. D. C. Little, 1961: a system that is stable holds on average as many as arrive per time, times how long
    each stays. Weighted by `unit`, each run counts as the nodes (CPU cores, GPUs) that it held.
    """
    window = window_of(scope)
    rows = []
    found = figures.spans(conn, scope, by, unit)
    for group in in_order(found):
        spans = Spans(*found[group]).cut(window)
        if not spans.starts:
            continue
        whole = list(Spans(*found[group]).rows())
        rows.append({"group": group, **_law(whole, spans, scope, window)})
    return rows


def _law(whole: list[Interval], spans: Spans, scope: Scope, window: Window) -> Row:
    start, end = _extent(spans, scope, window)
    length = end - start
    first = window.start
    ended = [
        (max(0, stop - begin), weight)
        for begin, stop, weight in whole
        if stop is not None and stop <= window.end and (first is None or max(begin, stop) >= first)
    ]
    per_us = len(ended) / length if length else None
    mean_us = sum(took for took, _ in ended) / len(ended) if ended else None
    held = sum(took * weight for took, weight in ended)
    return {
        "start_us": start,
        "end_us": end,
        "runs_ended": len(ended),
        "per_hour": None if per_us is None else per_us * HOUR_US,
        "mean_run_sec": None if mean_us is None else mean_us / 1e6,
        "bound": held / length if length else None,
        "measured": area(spans, Window(start, end)) / length if length else None,
    }


def _extent(spans: Spans, scope: Scope, window: Window) -> tuple[int, int]:
    start = min(spans.starts) if window.start is None else window.start
    if None in spans.ends or scope.before is not None:
        return start, max(start, window.end)
    return start, max(start, *(end for end in spans.ends if end is not None))


def scaling(conn: Connection, scope: Scope, by: str) -> list[Row]:
    """By group, smallest first: run times and throughput of runs that ended well, beside the first's.

    `efficiency`: the first group's median run time divided by the group's (weak scaling: the work of a run
    grows with its nodes). `throughput_efficiency`: runs per hour and busy node, divided by the first group's.
    Both are None where the groups are no sizes of one thing: names, or runs of several apps.
    """
    found = figures.finished_runs(conn, scope, by)
    rows = [_scale(group, Spans(*found[group])) for group in in_order(found) if group is not None]
    are_sizes = (by == "num_nodes" or by.startswith("tag:")) and all(map(_is_number, found))
    if not are_sizes or figures.apps_of_finished_runs(conn, scope) > 1:
        return [{**row, "efficiency": None, "throughput_efficiency": None} for row in rows]
    for row in rows:
        row["efficiency"] = _ratio(rows[0]["median_run_sec"], row["median_run_sec"])
        row["throughput_efficiency"] = _ratio(
            _ratio(row["per_hour"], row["busy_nodes"]), _ratio(rows[0]["per_hour"], rows[0]["busy_nodes"])
        )
    return rows


def _is_number(group: Group) -> bool:
    """Also as text, as tags have it; or there is none."""
    try:
        return group is None or isfinite(float(group))
    except ValueError:
        return False


def _scale(group: Group, spans: Spans) -> Row:
    took = sorted(max(0, (end or 0) - start) for start, end, _ in spans.rows())
    last = max(max(start, end or 0) for start, end, _ in spans.rows())
    active = covered(spans, Window(None, last))
    held = area(spans, Window(None, last))
    return {
        "group": group,
        "runs": len(took),
        "num_nodes": sum(spans.weights) / len(took),
        "mean_run_sec": sum(took) / len(took) / 1e6,
        "median_run_sec": quantile(took, 0.5) / 1e6,
        "p95_run_sec": quantile(took, 0.95) / 1e6,
        "active_hours": active / HOUR_US,
        "per_hour": len(took) * HOUR_US / active if active else None,
        "busy_nodes": held / active if active else None,
    }


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def backlog(conn: Connection, scope: Scope, by: str | None) -> list[Row]:
    """By group: jobs that are left, and when they will be done if they end as fast as lately.

    The rate is that of the window; without one, of the last hour. None where nothing ended in it. Jobs that
    can never start, since one that they wait for FAILED or was deleted, are none of those that are left.
    """
    now = scope.now
    until = now if scope.before is None else min(scope.before, now)
    since = until - RATE_US if scope.after is None else scope.after
    states: dict[Group, dict[str, int]] = defaultdict(dict)
    for group, state, number in figures.jobs_by_state(conn, scope, by):
        states[group][state] = number
    ended = dict(figures.ended_jobs(conn, scope, by, since, until))
    waits_for_parents = any(one.get(JobState.awaiting_parents) for one in states.values())
    never = dict(figures.never_starting(conn, scope, by)) if waits_for_parents else {}
    hours = (until - since) / HOUR_US
    return [
        {
            "group": group,
            **_left(
                states[group],
                never.get(group, 0),
                ended.get(group, 0) / hours if hours > 0 else 0.0,
                now,
            ),
            "rate_since_us": since,
        }
        for group in in_order(states)
    ]


def _left(states: dict[str, int], never: int, per_hour: float, now: int) -> Row:
    left = sum(number for state, number in states.items() if state not in DONE_STATES) - never
    seconds = 0.0 if not left else left / per_hour * 3600 if per_hour else None
    return {
        "left": left,
        "never_starting": never,
        "runnable": sum(states.get(state, 0) for state in RUNNABLE_STATES),
        "running": states.get(JobState.running, 0),
        "finished": states.get(JobState.job_finished, 0),
        "failed": states.get(JobState.failed, 0),
        "ended_per_hour": per_hour,
        "seconds_left": seconds,
        "done_at_us": None if seconds is None else now + round(seconds * 1e6),
    }
