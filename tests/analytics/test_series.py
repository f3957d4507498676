"""Series say what the slow, obvious reference says, on random histories and both engines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import JobState
from balsam.logic import analytics
from balsam.store.database import Database
from balsam.store.figures import Unit
from tests.analytics import reference
from tests.analytics.cases import (
    CHOICES,
    Choice,
    bin_numbers,
    case,
    choices,
    edges_of,
    labels,
    quickly,
    spans,
    told,
    windows,
)
from tests.analytics.histories import History, Job, histories
from tests.analytics.reference import Window, grouped

J = JobState


@given(histories(), choices, windows, labels, st.sampled_from([J.running, J.job_finished, J.restart_ready]))
@quickly
def test_throughput(
    db: Database, history: History, choice: Choice, window: Window, by: str | None, state: JobState
) -> None:
    with case(db, history, choice, window) as one:
        entered = [event for event in one.events() if event.move.new is state]
        answer = analytics.throughput(one.conn, one.scope, state, by, None)
        assert told(answer, by) == {
            group: reference.throughput(some) for group, some in grouped(entered, by).items()
        }


@given(histories(), choices, windows, labels, bin_numbers)
@quickly
def test_throughput_in_bins(
    db: Database, history: History, choice: Choice, window: Window, by: str | None, number: int
) -> None:
    with case(db, history, choice, window) as one:
        entered = grouped([event for event in one.events() if event.move.new is J.running], by)
        found = told(analytics.throughput(one.conn, one.scope, J.running, by, number), by)
        assert found.keys() == entered.keys()
        for group, some in entered.items():
            ends, counts = found[group]
            assert len(ends) <= number
            stamps = [event.move.at for event in some]
            expected = [sum(at < end for at in stamps) for end in ends[:-1]] + [len(stamps)]
            assert counts == expected


@given(histories(), choices, windows, labels, bin_numbers)
@quickly
def test_rates(
    db: Database, history: History, choice: Choice, window: Window, by: str | None, number: int
) -> None:
    """Each part's rate times its length is how many entered in it; parts are no shorter than a second."""
    with case(db, history, choice, window) as one:
        all_of_it = [event for event in one.events() if event.move.new is J.running]
        entered = grouped(all_of_it, by)
        rates = told(analytics.throughput_rates(one.conn, one.scope, J.running, by, number), by)
        assert rates.keys() == entered.keys()
        for group, some in entered.items():
            edges, per_hour = rates[group]
            edges_of(edges, number)
            assert len(edges) - 1 <= max(1, len(all_of_it) // 4)
            stamps = [event.move.at for event in some]
            assert edges[0] <= min(stamps) and max(stamps) <= edges[-1]
            if window.after is None:
                assert min(high - low for low, high in pairwise(edges)) > 0.99
            last = len(edges) - 2
            for place, (low, high) in enumerate(pairwise(edges)):
                inside = sum(low <= at and (at < high or place == last) for at in stamps)
                assert per_hour[place] == pytest.approx(inside * 3600 / (high - low))
            assert per_hour[-1] == per_hour[-2]


@given(histories(), choices, windows, labels, st.sampled_from(list(Unit)))
@quickly
def test_utilization(
    db: Database, history: History, choice: Choice, window: Window, by: str | None, unit: Unit
) -> None:
    with case(db, history, choice, window) as one:
        found = told(analytics.utilization(one.conn, one.scope, unit, by, None), by)
        for group, some in grouped(one.runs(), by).items():
            times, values = reference.steps(spans(some, unit), window)
            found_times, found_values = found.pop(group, ([], []))
            assert found_times == times
            assert found_values == pytest.approx(values, abs=1e-6)
        assert found == {}


@given(histories(), choices, windows, labels, st.sampled_from(list(Unit)), bin_numbers)
@quickly
def test_utilization_in_bins(
    db: Database,
    history: History,
    choice: Choice,
    window: Window,
    by: str | None,
    unit: Unit,
    number: int,
) -> None:
    with case(db, history, choice, window) as one:
        found = told(analytics.utilization(one.conn, one.scope, unit, by, number), by)
        expected = {
            group: some
            for group, some in grouped(one.runs(), by).items()
            if reference.steps(spans(some, unit), window)[0]
        }
        assert found.keys() == expected.keys()
        for group, some in expected.items():
            edges, values = found[group]
            edges_of(edges, number)
            assert values[:-1] == pytest.approx(
                reference.means(spans(some, unit), edges, min(window.end, edges[-1])), abs=1e-4
            )
            assert values[-1] == values[-2]


@given(histories(), windows, st.sampled_from([None, "site", "project", "batch_job"]), bin_numbers)
@quickly
def test_available_nodes(db: Database, history: History, window: Window, by: str | None, number: int) -> None:
    with case(db, history, CHOICES["allocations"], window) as one:
        groups: dict[Any, list[tuple[int, int | None, float]]] = {}
        for allocation in history.allocations:
            # One whose clock says that it ended before the window is not in it, whenever it began.
            last = window.end if allocation.end is None else allocation.end
            ended_before = window.after is not None and last < window.after
            if allocation.start is not None and not ended_before:
                end = None if allocation.end is None else max(allocation.start, allocation.end)
                name = reference.LABELS[by](Job(allocation.site, 0, 1, 1, {}), allocation)
                groups.setdefault(name, []).append((allocation.start, end, float(allocation.nodes)))
        expected = {group: reference.steps(some, window) for group, some in groups.items()}
        found = told(analytics.available_nodes(one.conn, one.scope, by, None), by)
        assert found == {group: series for group, series in expected.items() if series[0]}
        binned = told(analytics.available_nodes(one.conn, one.scope, by, number), by)
        for group, (edges, values) in binned.items():
            edges_of(edges, number)
            ends = min(window.end, edges[-1])
            assert values[:-1] == pytest.approx(reference.means(groups[group], edges, ends), abs=1e-6)
