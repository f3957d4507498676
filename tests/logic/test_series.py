import itertools
import statistics

from hypothesis import given
from hypothesis import strategies as st

from balsam.logic.quantiles import quantile
from balsam.logic.series import Interval, Spans, Window, area, cumulative, step_sum

intervals = st.lists(
    st.tuples(st.integers(0, 50), st.none() | st.integers(0, 60), st.sampled_from([1.0, 0.5, 1 / 3, 4.0])),
    max_size=12,
)
windows = st.builds(Window, st.none() | st.integers(0, 30), st.integers(30, 70))


def slow_level(spans: list[Interval], at: float) -> float:
    """What is open at an instant, obviously."""
    level = 0.0
    for start, end, weight in spans:
        if start <= at and (end is None or at < max(start, end)):
            level += weight
    return level


@given(intervals, windows)
def test_the_series_agrees_with_counting_at_every_instant(spans: list[Interval], window: Window) -> None:
    times, values = step_sum(Spans.of(spans), window)
    begin = 0 if window.start is None else window.start
    for instant in range(begin, window.end):
        level = 0.0
        for time, value in zip(times, values, strict=True):
            if time <= instant:
                level = value
        assert abs(level - slow_level(spans, instant)) < 1e-6


@given(intervals, windows)
def test_series_ascend_and_are_never_negative(spans: list[Interval], window: Window) -> None:
    times, values = step_sum(Spans.of(spans), window)
    assert len(times) == len(values)
    assert all(a < b for a, b in itertools.pairwise(times))
    assert all(value >= 0 for value in values)
    assert all(time <= window.end for time in times)


def test_an_empty_query_gives_empty_lists() -> None:
    assert step_sum(Spans.of([]), Window(None, 100)) == ([], [])
    assert cumulative([]) == ([], [])


def test_what_is_still_open_is_closed_by_a_point_at_the_end() -> None:
    assert step_sum(Spans.of([(10, None, 2.0)]), Window(None, 100)) == ([10, 100], [2.0, 2.0])


def test_what_began_before_the_window_counts_from_its_start() -> None:
    assert step_sum(Spans.of([(10, 60, 1.0)]), Window(40, 100)) == ([40, 60], [1.0, 0.0])
    assert step_sum(Spans.of([(10, 30, 1.0)]), Window(40, 100)) == ([], [])


def test_thirds_add_up_to_one_and_come_back_to_zero() -> None:
    spans: list[Interval] = [(0, 9, 1 / 3), (1, 8, 1 / 3), (2, 7, 1 / 3)]
    _, values = step_sum(Spans.of(spans), Window(None, 100))
    assert values[2] == 1.0 and values[-1] == 0.0


def test_an_end_before_its_start_counts_as_empty() -> None:
    assert step_sum(Spans.of([(10, 5, 1.0)]), Window(None, 100)) == ([10], [0.0])


@given(intervals, windows)
def test_area_is_the_sum_over_the_series(spans: list[Interval], window: Window) -> None:
    begin = 0 if window.start is None else window.start
    slow = sum(slow_level(spans, instant) for instant in range(begin, window.end))
    assert abs(area(Spans.of(spans), window) - slow) < 1e-6


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_median_agrees_with_the_standard_library(values: list[int]) -> None:
    assert quantile(sorted(values), 0.5) == statistics.median(values)
