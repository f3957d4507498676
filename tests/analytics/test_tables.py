"""Tables say what the slow, obvious reference says, on random histories and both engines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import DONE_STATES, RUNNABLE_STATES, JobState
from balsam.logic import durations, efficiency, traces
from balsam.logic import failures as failure_logic
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.database import Database
from balsam.store.figures import Unit
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.scope import Scope
from balsam.store.traces import Attempts
from tests.analytics import reference
from tests.analytics.cases import (
    SEC,
    Case,
    Choice,
    case,
    choices,
    labels,
    quickly,
    spans,
    windows,
)
from tests.analytics.histories import NOW, History, Job, histories, us, written
from tests.analytics.reference import Run, Window, grouped

J = JobState


@given(histories(), choices, windows, labels)
@quickly
def test_node_hours(db: Database, history: History, choice: Choice, window: Window, by: str | None) -> None:
    with case(db, history, choice, window) as one:
        rows = {row["group"]: row for row in efficiency.node_hours(one.conn, one.scope, by)}
        runs, every = one.runs(), reference.runs(history)
        busy = {group: _held(some, window, "node") for group, some in grouped(runs, by).items()}
        for group, some in grouped(runs, by).items():
            assert rows[group]["runs"] == len(some)
            assert rows[group]["busy"] * 3600 == pytest.approx(busy[group])
            assert rows[group]["cpu_hours"] * 3600 == pytest.approx(_held(some, window, "cpu"))
            assert rows[group]["gpu_hours"] * 3600 == pytest.approx(_held(some, window, "gpu"))
        idle, available = _idle(one, runs, every, by)
        for group, row in rows.items():
            assert row["idle"] * 3600 == pytest.approx(idle.get(group, 0.0), abs=1e-6)
            assert row["available"] * 3600 == pytest.approx(available.get(group, 0.0), abs=1e-6)
            placed = row["busy"] - row["unplaced"]
            if row["available"]:
                assert row["busy_fraction"] == pytest.approx(placed / row["available"])
                assert row["busy_fraction"] <= 1 + 1e-9


def _held(runs: list[Run], window: Window, unit: str) -> float:
    return sum(run.inside(window) * run.weight(unit) for run in runs)


def _idle(
    one: Case, runs: list[Run], every: list[Run], by: str | None
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Node-seconds idle and available by group: each allocation's are shared out one by one."""
    chosen = {run.allocation.id for run in runs if run.allocation is not None}
    had = reference.spans_of_allocations(one.history, one.window)
    idle: dict[Any, float] = {}
    available: dict[Any, float] = {}
    whole = by not in ("app", "tag:size")
    for allocation in one.history.allocations:
        wanted = isinstance(one.choice.filter, BatchJobFilter) or allocation.id in chosen
        if not wanted or allocation.id not in had:
            continue
        used = _held([run for run in every if run.allocation is allocation], one.window, "node")
        left = max(0.0, had[allocation.id] - used)
        if whole:
            shares = {reference.LABELS[by](Job(allocation.site, 0, 1, 1, {}), allocation): 1.0}
            name = next(iter(shares))
            available[name] = available.get(name, 0.0) + had[allocation.id]
        elif used:
            here = [run for run in runs if run.allocation is allocation]
            shares = {
                group: _held(some, one.window, "node") / used for group, some in grouped(here, by).items()
            }
        else:
            shares = {None: 1.0}
            available[None] = available.get(None, 0.0) + left
        for group, share in shares.items():
            idle[group] = idle.get(group, 0.0) + share * left
            if not whole and used:
                available[group] = available.get(group, 0.0) + share * left
    if not whole:
        for group, some in grouped(runs, by).items():
            placed = _held(some, one.window, "node") - _unplaced(some, every, had, one.window)
            available[group] = available.get(group, 0.0) + placed
    return idle, available


def _unplaced(some: list[Run], every: list[Run], had: dict[int, float], window: Window) -> float:
    """What these runs kept busy beyond what the launchers of their allocations had, each its share."""
    beyond = 0.0
    for run in some:
        held = _held([run], window, "node")
        if held and run.allocation is not None:
            used = _held([other for other in every if other.allocation is run.allocation], window, "node")
            held *= 1 - min(1.0, had.get(run.allocation.id, 0.0) / used)
        beyond += held
    return beyond


@given(histories(), choices, windows, st.sampled_from([None, "site", "app", "tag:size", "attempt"]))
@quickly
def test_time_in_each_state_and_run_delays(
    db: Database, history: History, choice: Choice, window: Window, by: str | None
) -> None:
    with case(db, history, choice, window) as one:
        rows = durations.state_times(one.conn, one.scope, by)
        stays: dict[tuple[Any, str], list[int]] = {}
        for event in one.events():
            if event.old is not J.created:
                group = event.attempt if by == "attempt" else reference.LABELS[by](event.job, None)
                stays.setdefault((group, event.old.value), []).append(event.move.at - event.entered)
        assert {(row["group"], row["state"]): _durations(row) for row in rows} == {
            key: pytest.approx(reference.durations(some)) for key, some in stays.items()
        }
        waits: dict[Any, list[int]] = {}
        for run in one.runs():
            if window.after is None or run.start >= window.after:
                group = run.attempt if by == "attempt" else reference.LABELS[by](run.job, None)
                waits.setdefault(group, []).append(run.start - run.runnable)
        delays = durations.run_delays(one.conn, one.scope, by)
        assert {row["group"]: _durations(row) for row in delays} == {
            key: pytest.approx(reference.durations(some)) for key, some in waits.items()
        }


def _durations(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("group", "state")}


@given(histories(), choices, windows, st.sampled_from(["signature", "host", "app", "batch_job", "tag:size"]))
@quickly
def test_failures(db: Database, history: History, choice: Choice, window: Window, by: str) -> None:
    with case(db, history, choice, window) as one:
        runs = one.runs()
        failed = _by_cause(reference.failed(runs, window), by)
        ended = _by_cause(reference.ended(runs, window), by) if by != "signature" else {}
        rows = failure_logic.failures(one.conn, one.scope, by)
        assert [row["failures"] for row in rows] == sorted((row["failures"] for row in rows), reverse=True)
        assert {row["group"]: row["failures"] for row in rows} == {
            group: len(some) for group, some in failed.items()
        }
        for row in rows:
            some = failed[row["group"]]
            ends = [run.end for run in some if run.end is not None]
            newest = max(ends, key=lambda move: move.id)
            assert (row["first_us"], row["last_us"]) == (
                us(min(move.at for move in ends)),
                us(max(move.at for move in ends)),
            )
            assert row["newest_tail"] == newest.data["error"]
            assert row["signatures"] == {
                sign: sum(reference.signature(run) == sign for run in some)
                for sign in {reference.signature(run) for run in some}
            }
            assert row["runs"] == (len(ended[row["group"]]) if ended else None)
            if by != "host":
                assert row["jobs"] == len({(run.job.id, reference.signature(run)) for run in some})


def _by_cause(runs: list[Run], by: str) -> dict[Any, list[Run]]:
    if by in reference.LABELS:
        return grouped(runs, by)
    found: dict[Any, list[Run]] = {}
    for run in runs:
        names = [reference.signature(run)] if by == "signature" else run.begin.data["nodes"] or [None]
        for name in names:
            found.setdefault(name, []).append(run)
    return found


@given(histories(), choices, windows)
@quickly
def test_failed_jobs(db: Database, history: History, choice: Choice, window: Window) -> None:
    with case(db, history, choice, window) as one:
        expected = [
            event
            for event in one.events()
            if event.job.state is J.failed and event.move is event.job.moves[-1]
        ]
        expected.sort(key=lambda event: (event.move.at, event.move.id), reverse=True)
        rows = failure_logic.failed_jobs(one.conn, one.scope, 100)
        assert [(row["job_id"], row["failed_us"], row["from_state"]) for row in rows] == [
            (event.job.id, us(event.move.at), event.old.value) for event in expected
        ]
        assert failure_logic.failed_jobs(one.conn, one.scope, 1) == rows[:1]
        for row, event in zip(rows, expected, strict=True):
            runs = [run for run in reference.runs(history) if run.job is event.job]
            assert row["attempts"] == len(runs)
            assert row["nodes"] == (runs[-1].begin.data["nodes"] if runs else [])
            ended = runs[-1].end if runs else None
            assert row["return_code"] == (ended.data.get("returncode") if ended else None)
            assert row["tail"] == (ended.data.get("error", "") if ended else "")


@given(histories(), choices, windows, labels, st.sampled_from(list(Unit)))
@quickly
def test_littles_law(
    db: Database, history: History, choice: Choice, window: Window, by: str | None, unit: Unit
) -> None:
    with case(db, history, choice, window) as one:
        rows = {row["group"]: row for row in efficiency.littles_law(one.conn, one.scope, by, unit)}
        expected = {
            group: some
            for group, some in grouped(one.runs(), by).items()
            if reference.steps(spans(some, unit), window)[0]
        }
        assert rows.keys() == expected.keys()
        for group, some in expected.items():
            row = rows[group]
            length = (row["end_us"] - row["start_us"]) / SEC
            ended = [run for run in some if run.stop is not None and _ends_inside(run, window)]
            held = sum(((run.stop or 0) - run.start) * run.weight(unit) for run in ended)
            assert row["runs_ended"] == len(ended)
            if length:
                assert row["bound"] == pytest.approx(held / length)
                assert row["per_hour"] == pytest.approx(len(ended) / length * 3600)
                assert row["measured"] == pytest.approx(_held(some, window, unit) / length)
            if length and window.after is None and len(ended) == len(some):
                assert row["bound"] == pytest.approx(row["measured"])


def _ends_inside(run: Run, window: Window) -> bool:
    assert run.stop is not None
    return (
        run.start <= window.end
        and run.stop <= window.end
        and (window.after is None or run.stop >= window.after)
    )


@given(histories(), choices, windows, st.sampled_from(["num_nodes", "app", "tag:size"]))
@quickly
def test_scaling(db: Database, history: History, choice: Choice, window: Window, by: str) -> None:
    with case(db, history, choice, window) as one:
        well = [run for run in reference.ended(one.runs(), window) if run.end and run.end.new is J.run_done]
        groups: dict[Any, list[Run]] = {}
        for run in well:
            name = run.job.weight if by == "num_nodes" else reference.LABELS[by](run.job, run.allocation)
            if name is not None:
                groups.setdefault(name, []).append(run)
        rows = efficiency.scaling(one.conn, one.scope, by)
        assert {row["group"]: row["runs"] for row in rows} == {g: len(some) for g, some in groups.items()}
        one_app = len({run.job.app for run in well}) <= 1
        for row in rows:
            some = groups[row["group"]]
            took = reference.durations([run.end.at - run.start for run in some if run.end])
            assert row["median_run_sec"] == pytest.approx(took["median_sec"])
            active = sum(any(run.start <= second < (run.stop or 0) for run in some) for second in range(70))
            assert row["active_hours"] * 3600 == pytest.approx(active)
            if active:
                assert row["per_hour"] == pytest.approx(len(some) / active * 3600)
            if by == "app" or not one_app:
                assert row["efficiency"] is row["throughput_efficiency"] is None
            elif row["median_run_sec"]:
                assert row["efficiency"] == pytest.approx(rows[0]["median_run_sec"] / row["median_run_sec"])


@given(histories(), choices, windows, st.sampled_from([None, "site", "app", "tag:size"]))
@quickly
def test_backlog(db: Database, history: History, choice: Choice, window: Window, by: str | None) -> None:
    with case(db, history, choice, window) as one:
        jobs = [job for job in history.jobs if choice.jobs(job)]
        groups: dict[Any, list[Job]] = {}
        for job in jobs:
            groups.setdefault(reference.LABELS[by](job, None), []).append(job)
        rows = {row["group"]: row for row in efficiency.backlog(one.conn, one.scope, by)}
        assert rows.keys() == groups.keys()
        until = window.end
        since = until - 3600 if window.after is None else window.after
        for group, some in groups.items():
            row = rows[group]
            left = [job for job in some if job.state not in DONE_STATES]
            assert row["left"] == len(left)
            assert row["runnable"] == sum(job.state in RUNNABLE_STATES for job in some)
            assert row["running"] == sum(job.state is J.running for job in some)
            ended = sum(
                move.new in DONE_STATES and since < move.at <= until for job in some for move in job.moves
            )
            rate = ended / (until - since) if until > since else 0.0
            assert row["ended_per_hour"] == pytest.approx(rate * 3600)
            if not left:
                assert row["seconds_left"] == 0
            elif not rate:
                assert row["seconds_left"] is row["done_at_us"] is None
            else:
                assert row["seconds_left"] == pytest.approx(len(left) / rate)


@given(histories(), choices, windows, st.sampled_from(["start", "-start", "slowest"]), st.integers(1, 3))
@quickly
def test_the_trace_has_a_row_for_each_attempt(
    db: Database, history: History, choice: Choice, window: Window, order: str, limit: int
) -> None:
    with case(db, history, choice, window) as one:
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            wanted = Attempts(None, order, 100 if order == "slowest" else limit, after, NOW)
            page, after = traces.trace(one.conn, one.scope, wanted)
            rows += page
            if after is None:
                break
        assert sorted(row["run_id"] for row in rows) == sorted({row["run_id"] for row in rows})
        found = {(row["job_id"], row["attempt"]): row for row in rows}
        assert found.keys() == {(run.job.id, run.attempt) for run in one.runs()}
        for run in one.runs():
            row = found[run.job.id, run.attempt]
            assert (row["start_us"], row["end_us"]) == (us(run.start), run.end and us(run.end.at))
            assert row["queue_sec"] == max(0, run.start - run.runnable)
            assert row["run_sec"] == (None if run.stop is None else run.stop - run.start)
            assert row["nodes"] == run.begin.data["nodes"] and row["tags"] == run.job.tags
            assert row["tail"] == (run.end.data.get("error", "") if run.end else "")
        if order != "slowest":
            keys = [(row["start_us"], row["run_id"]) for row in rows]
            assert keys == sorted(keys, reverse=order == "-start")
        else:
            took = [(row["end_us"] or NOW) - row["start_us"] for row in rows]
            assert took == sorted(took, reverse=True)


@given(histories(), choices, windows)
@quickly
def test_bars_of_a_node_do_not_overlap_in_their_lane(
    db: Database, history: History, choice: Choice, window: Window
) -> None:
    with case(db, history, choice, window) as one:
        nodes = {row["node"]: row["bars"] for row in traces.timeline(one.conn, one.scope, 100)}
        expected = sorted((node, run.job.id, us(run.start)) for run in one.runs() for node in _nodes(run))
        assert expected == sorted(
            (node, bar["job_id"], bar["start_us"]) for node, bars in nodes.items() for bar in bars
        )
        for bars in nodes.values():
            for bar in bars:
                for other in bars:
                    if bar is not other and bar["lane"] == other["lane"]:
                        assert _apart(bar, other)


def _nodes(run: Run) -> list[str]:
    return run.begin.data["nodes"] or [""]


def _apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = sorted((one, other), key=lambda bar: (bar["start_us"], bar["run_id"]))
    return first["end_us"] is not None and max(first["start_us"], first["end_us"]) <= second["start_us"]


def test_strangers_see_nothing(db: Database) -> None:
    job = Job(0, 0, 1, 1, {})
    with written(db, History([job], [])) as (conn, _):
        scope = Scope.of(conn, Owner(10**9), JobFilter(), now=NOW)
        assert efficiency.backlog(conn, scope, None) == []
        assert traces.trace(conn, scope, Attempts(None, "start", 10, None, NOW)) == ([], None)
