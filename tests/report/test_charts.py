"""Shapes of charts, scales and words: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from balsam.core.clock import UtcDatetime
from balsam.report import charts, words
from balsam.report.scales import Logarithmic, Times, top, value_ticks
from balsam.schemas.analytics import Bar, NodeTimeline, StateTimes

START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> UtcDatetime:
    return UtcDatetime.of(START + timedelta(seconds=seconds))


def span(seconds: float) -> Times:
    return Times(at(0), at(seconds))


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [
        (0.4, ["12:00:00.0", "12:00:00.1", "12:00:00.2", "12:00:00.3", "12:00:00.4"]),
        (60, ["12:00:00", "12:00:15", "12:00:30", "12:00:45", "12:01:00"]),
        (3600, ["12:00", "12:15", "12:30", "12:45", "13:00"]),
        (86_400, ["12:00", "18:00", "Feb 1, 00:00", "06:00", "12:00"]),
        (5 * 86_400, ["Feb 1", "Feb 2", "Feb 3", "Feb 4", "Feb 5"]),
    ],
)
def test_ticks_are_at_round_times(seconds: float, texts: list[str]) -> None:
    ticks = span(seconds).ticks()
    assert [tick.text for tick in ticks] == texts
    assert all(0 <= tick.at <= 1 for tick in ticks)


@pytest.mark.parametrize("seconds", [0.0001, 1, 7, 999, 50_000, 10**6, 10**8])
def test_there_are_never_too_many_ticks(seconds: float) -> None:
    assert len(span(seconds).ticks()) <= 6


@pytest.mark.parametrize(
    ("values", "highest"), [([], 1), ([0, 0], 1), ([3], 3), ([7.2], 8), ([151], 200), ([0.013], 0.015)]
)
def test_the_top_is_round_and_above_all(values: list[float], highest: float) -> None:
    assert top(values) == pytest.approx(highest)
    ticks = value_ticks(top(values))
    assert ticks[0].text == "0" and ticks[-1].at == pytest.approx(1) and 3 <= len(ticks) <= 6


def test_steps_hold_until_the_next_time() -> None:
    chart = charts.steps([("busy", "busy", ([at(0), at(5), at(10)], [2.0, 4.0, 4.0]))], span(10), "nodes")
    assert chart is not None
    assert chart.lines[0].path == "M0.0 100.0H500.0V0.0H1000.0V0.0"
    assert [(hit.x, hit.width) for hit in chart.hits] == [(0, 500), (500, 500)]
    assert chart.hits[0].text == "2026-01-31 12:00:00: busy: 2 nodes"
    assert charts.steps([("busy", "busy", ([], []))], span(10)) is None


def bar(run: int, start: float, end: float | None, lane: int = 0, state: str | None = "RUN_DONE") -> Bar:
    return Bar(
        start_us=at(start),
        end_us=None if end is None else at(end),
        run_id=run,
        job_id=run,
        app="App",
        end_state=state,
        lane=lane,
    )


def test_bars_lie_in_the_lanes_of_their_node() -> None:
    one = NodeTimeline(node="n1", bars=[bar(1, 0, 5), bar(2, 2, 10, 1, "RUN_ERROR")])
    other = NodeTimeline(node="", bars=[bar(3, 5, None, 0, None)])
    chart = charts.gantt([one, other], span(20), at(20))
    assert chart is not None and chart.kinds == ["done", "error", "running"]
    assert [(row.name, row.y, row.height) for row in chart.rows] == [
        ("n1", 0, 24),
        ("(no node named)", 30, 12),
    ]
    assert [(box.x, box.y, box.width, box.kind) for box in chart.boxes] == [
        (0, 0, 250, "done"),
        (100, 12, 400, "error"),
        (250, 30, 750, "running"),
    ]


def test_a_timeline_is_no_higher_than_there_is_room() -> None:
    wide = [NodeTimeline(node=f"n{n}", bars=[bar(64 * n + i, 0, 5, i) for i in range(64)]) for n in range(50)]
    chart = charts.gantt(wide, span(10), at(10))
    assert chart is not None and chart.height <= charts.MAX_ROWS
    assert 0 < len(chart.rows) < 50 and chart.nodes_left_out == 50 - len(chart.rows)
    assert all(box.x + box.width <= charts.WIDTH for box in chart.boxes)


def test_a_run_of_no_time_at_the_end_is_seen() -> None:
    chart = charts.gantt([NodeTimeline(node="n", bars=[bar(1, 10, 10)])], span(10), at(10))
    assert chart is not None and chart.boxes[0].width == charts.MIN_BAR
    assert chart.boxes[0].x + chart.boxes[0].width == charts.WIDTH


def test_durations_of_all_sizes_are_on_one_axis() -> None:
    axis = Logarithmic.over([0.0, 0.02, 45.0])
    assert (axis.low, axis.high) == (-2, 2)
    assert [axis.at(value) for value in (0, 0.01, 1, 100, 1e9)] == [0, 0, 0.5, 1, 1]
    assert axis.ticks() == [0.01, 0.1, 1, 10, 60]
    assert Logarithmic.over([]).ticks() == [1, 10]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.12345, "0.123 s"),
        (59.9, "59.9 s"),
        (59.99, "1 min"),
        (200, "3 min 20 s"),
        (3599.8, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (360_000, "4 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_other_words() -> None:
    assert [words.number(value) for value in (0.00123, 4.567, 12, 123.4, 12_345.6)] == [
        "0.00123",
        "4.57",
        "12",
        "123",
        "12,346",
    ]
    assert words.share(0.873) == "87 %"
    assert words.counted(1, "job") == "1 job" and words.counted(2_000, "job") == "2,000 jobs"
    assert words.group(None) == "(none)" and words.group(0.5) == "0.5"
    assert words.reason("E: one\n---\n\n") == "E: one" and len(words.reason("x" * 999)) == 160


def test_busy_above_available_is_found_and_parts_that_differ_are_not_taken_for_it() -> None:
    def moments(*seconds: int) -> list[UtcDatetime]:
        return [at(second) for second in seconds]

    available = (moments(0, 10, 20, 30), [0.5, 2.0, 2.0, 2.0])
    assert charts.excess((moments(5, 10, 20, 30), [2.0, 2.0, 1.0, 1.0]), available) == 0
    assert charts.excess((moments(0, 10, 20, 30), [0.0, 5.0, 1.0, 1.0]), available) == 3
    assert charts.excess((moments(0, 10), [5.0, 5.0]), ([], [])) == 0


def test_small_numbers_keep_digits_and_shares_that_are_nearly_nothing_or_all_say_so() -> None:
    assert words.number(0.00123) == "0.00123" and words.number(0) == "0"
    assert [words.share(one) for one in (None, 0.0, 0.0031, 0.5, 0.997, 1.0)] == [
        "-", "0 %", "0.31 %", "50 %", "99.7 %", "100 %"
    ]  # fmt: skip


def test_what_is_counted_stays_to_the_end_of_the_axis() -> None:
    """The kind: a total that falls to nothing, or is not seen at all, behind its last event."""
    assert charts.held(([at(5)], [1.0]), span(10)) == ([at(5), at(10)], [1.0, 1.0])
    assert charts.held(([at(0), at(10)], [1.0, 2.0]), span(10)) == ([at(0), at(10)], [1.0, 2.0])
    assert charts.held(([], []), span(10)) == ([], [])


def test_a_stay_of_no_time_has_no_place_on_a_logarithmic_axis() -> None:
    """The kind: a mark at the wrong number; 0 s stood at the first tick."""
    shown = charts.ranges([_stays("STAGED_IN", 0, 0, 20), _stays("RUNNING", 10, 20, 100)])
    assert shown.rows[0].median is None and shown.rows[0].p95 == 0 and shown.rows[0].p99 is not None
    assert [shown.rows[1].median, shown.rows[1].p99] == [0, 1000]


def _stays(state: str, median: float, p95: float, p99: float) -> StateTimes:
    return StateTimes(
        group=None,
        state=state,
        count=3,
        skewed=0,
        total_sec=p99,
        mean_sec=median,
        median_sec=median,
        p95_sec=p95,
        p99_sec=p99,
        max_sec=p99,
    )
