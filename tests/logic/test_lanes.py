"""Timelines: every run is drawn or counted in what is drawn, in few bars, however many there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from balsam.logic.lanes import CUT, DONE, FAILED, GOES_ON, MAX_LANES, binned
from balsam.store.runs_of_windows import Run

SECOND = 1_000_000


def run(
    start: float,
    end: float | None,
    job: int = 1,
    state: str | None = "RUN_DONE",
    *,
    nodes: Sequence[str] = ("n1",),
    batch_job: int | None = 5,
    session: int | None = None,
) -> Run:
    """In seconds; without an end it goes on."""
    until = None if end is None else int(end * SECOND)
    ended = None if end is None else state
    return Run(int(start * SECOND), until, job, ended, batch_job, session, list(nodes))


def drawn(
    runs: Iterable[Run], bins: int = 100, now: float = 100, **window: int | None
) -> list[dict[str, Any]]:
    newest_first = sorted(runs, key=lambda one: -one.start)
    answer = binned(
        newest_first, window.get("after"), window.get("before"), int(now * SECOND), bins, by_launcher=False
    )
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def test_runs_at_a_time_are_in_lanes_and_later_ones_take_the_lowest() -> None:
    [row] = drawn([run(0, 40, 1), run(10, 60, 2), run(50, 100, 3)])
    bars = row["bars"]
    assert row["lanes"] == 2
    assert [(bar[3], bar[0]) for bar in bars] == [(1, 0), (2, 1), (3, 0)]


def test_kinds_tell_how_runs_ended() -> None:
    ends = ["RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"]
    [row] = drawn([*(run(30 * n, 30 * n + 20, n, state) for n, state in enumerate(ends)), run(90, None, 9)])
    assert [bar[1] for bar in row["bars"]] == [DONE, FAILED, CUT, GOES_ON]


def test_a_run_of_two_nodes_is_on_both_rows_in_the_order_of_their_numbers() -> None:
    rows = drawn([run(0, 10, nodes=["n10", "n9"]), run(0, 10, nodes=[])])
    assert [row["name"] for row in rows] == ["", "n9", "n10"]


def test_rows_may_be_launchers() -> None:
    places = [(5, 7), (5, 10), (None, 3), (None, None)]
    runs = [run(0, 10, batch_job=batch_job, session=session) for batch_job, session in places]
    answer = binned(runs, None, None, 100 * SECOND, 100, by_launcher=True)
    assert [row["name"] for row in answer["rows"]] == [
        "",
        "BatchJob 5 session 7",
        "BatchJob 5 session 10",
        "session 3",
    ]


def test_a_hundred_thousand_short_runs_are_a_few_thousand_bars() -> None:
    runs = [run(n / 100, n / 100 + 0.009, n, nodes=[f"n{n % 4}"]) for n in range(100_000)]
    rows = drawn(runs, bins=1000, now=1000)
    bars = [bar for row in rows for bar in row["bars"]]
    assert len(bars) <= 4 * 1001 and sum(bar[2] for bar in bars) == 100_000


spans = st.tuples(
    st.floats(0, 90), st.floats(0, 30), st.sampled_from(["RUN_DONE", "RUN_ERROR"]), st.booleans()
)


@given(st.lists(spans, max_size=80), st.integers(10, 200))
def test_all_runs_are_counted_and_lie_within_their_bars(
    found: list[tuple[float, float, str, bool]], bins: int
) -> None:
    runs = [
        run(start, None if is_open else start + length, n, state)
        for n, (start, length, state, is_open) in enumerate(found)
    ]
    rows = drawn(runs, bins=bins, now=130)
    bars = [bar for row in rows for bar in row["bars"]]
    assert sum(bar[2] for bar in bars) == len(runs)
    begin = min((one.start for one in runs), default=0)
    assert all(0 <= bar[4] <= bar[5] and bar[0] < MAX_LANES for bar in bars)
    for one in runs:
        until = max(one.start, 130 * SECOND if one.end is None else one.end)
        assert any(bar[4] <= one.start - begin and until - begin <= bar[5] for bar in bars)


def test_bars_of_a_lane_do_not_overlap() -> None:
    runs = [run(n * 1.3 % 50, n * 1.3 % 50 + 7, n) for n in range(60)]
    [row] = drawn(runs, bins=1000)
    by_lane: dict[int, list[list[int]]] = {}
    for bar in row["bars"]:
        by_lane.setdefault(bar[0], []).append(bar)
    for bars in by_lane.values():
        assert all(one[5] <= other[4] for one, other in itertools.pairwise(bars))
