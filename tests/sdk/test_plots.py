"""`balsam.analytics.plot_*`: what the server says, in the axis that was given."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from balsam import analytics
from balsam.api import Job
from balsam.core.clock import UtcDatetime
from balsam.report import drawing
from balsam.report.scales import Times
from balsam.schemas.analytics import Bar, NodeHours, NodeTimeline, StateTimes
from tests.report import campaigns
from tests.services import User

PLOTS = [name for name in analytics.__all__ if name.startswith("plot_")]


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


@pytest.fixture
def tags(me: User) -> dict[str, str]:
    return campaigns.make()


@pytest.fixture
def current_axes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Axes]]:
    """pyplot's, without any display."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield pyplot.gca
    pyplot.close("all")


@pytest.mark.parametrize("name", PLOTS)
def test_each_draws_into_the_axis_and_returns_it(name: str, tags: dict[str, str], ax: Axes) -> None:
    plot = getattr(analytics, name)
    assert plot(Job.objects.filter(tags=tags), ax) is ax
    assert ax.lines or ax.patches or ax.collections
    assert isinstance(ax.figure, Figure)
    ax.figure.canvas.draw()
    assert plot(Job.objects.filter(tags={"campaign": "none"}), Figure().add_subplot()) is not None


def values_of(ax: Axes) -> list[float]:
    """Of its first line."""
    found: Any = ax.lines[0].get_ydata()
    return [float(value) for value in found]


def test_lines_are_the_series_of_the_server(tags: dict[str, str], ax: Axes) -> None:
    query = Job.objects.filter(tags=tags)
    analytics.plot_throughput(query, ax, bins=None)
    _, counts = analytics.throughput_report(query)
    assert values_of(ax) == counts and ax.get_ylabel() == "jobs finished"


def test_each_group_has_its_line(tags: dict[str, str], ax: Axes) -> None:
    query = Job.objects.filter(tags=tags)
    for plot in (analytics.plot_throughput, analytics.plot_throughput_rates, analytics.plot_utilization):
        fresh = Figure().add_subplot()
        plot(query, fresh, group_by="tag:size")
        assert [line.get_label() for line in fresh.lines] == ["0", "1", "2"]
    analytics.plot_available_nodes(query, ax, group_by="site")
    assert [line.get_label() for line in ax.lines] == ["lab"]
    cores = analytics.plot_utilization(query, Figure().add_subplot(), unit="cpu")
    assert cores.get_ylabel() == "busy CPU cores" and max(values_of(cores)) == 8


def test_names_with_dollars_are_no_formulas(me: User, ax: Axes) -> None:
    campaigns.make(4)
    analytics.plot_node_hours(Job.objects.all(), ax, group_by="tag:note")
    assert campaigns.TAG in [label.get_text() for label in ax.get_yticklabels()]


def test_without_an_axis_it_is_the_current_one(
    tags: dict[str, str], current_axes: Callable[[], Axes]
) -> None:
    assert analytics.plot_timeline(Job.objects.filter(tags=tags)) is current_axes()
    assert len(current_axes().patches) == 12


def test_importing_the_analytics_loads_no_matplotlib() -> None:
    code = (
        "import sys, balsam.analytics as a; a.plot_throughput; "
        "sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_no_other_plot() -> None:
    with pytest.raises(AttributeError, match="plot_nothing"):
        _ = analytics.plot_nothing  # type: ignore[attr-defined]


def test_plots_are_among_the_names_that_a_notebook_completes() -> None:
    assert PLOTS and set(PLOTS) <= set(dir(analytics))


def test_what_a_chart_has_no_room_for_is_counted(ax: Axes) -> None:
    """The kind: a list that is cut in silence."""
    rows = [
        NodeHours(
            group=str(number), runs=1, busy=1, idle=0, available=1, busy_fraction=1, cpu_hours=0, gpu_hours=0
        )
        for number in range(drawing.MAX_ROWS + 2)
    ]
    drawing.draw_node_hours(ax, rows[:3])
    assert ax.get_xlabel() == "node-hours"
    drawing.draw_node_hours(ax, rows, left_out=5)
    assert ax.get_xlabel() == "node-hours (7 groups more left out)"
    drawing.draw_failures(ax, [], left_out=1)
    assert ax.get_xlabel() == "failed runs (1 group more left out)"
    start = UtcDatetime.of_us(0)
    end = UtcDatetime.of_us(10**6)
    bar = Bar(start_us=start, end_us=end, run_id=1, job_id=1, app="A", end_state="RUN_DONE", lane=0)
    nodes = [NodeTimeline(node=f"n{number}", bars=[bar]) for number in range(200)]
    drawing.draw_timeline(ax, nodes, Times.over([start, end]), start, note="the newest 3 of 9 runs")
    assert re.fullmatch(r"the newest 3 of 9 runs; \d+ nodes more left out", ax.get_xlabel())


def test_a_stay_of_no_time_is_drawn_at_no_number(ax: Axes) -> None:
    """The kind: a mark at the wrong number; a logarithmic axis has no 0."""
    rows = [
        StateTimes(
            group=None,
            state=state,
            count=1,
            skewed=0,
            total_sec=sec,
            mean_sec=sec,
            median_sec=sec,
            p95_sec=sec,
            p99_sec=sec,
            max_sec=sec,
        )
        for state, sec in (("STAGED_IN", 0.0), ("RUNNING", 10.0))
    ]
    drawing.draw_state_times(ax, rows[:1])
    drawing.draw_state_times(ax, rows)
    medians: Any = ax.lines[-1].get_xdata()
    assert math.isnan(medians[0]) and medians[1] == 10 and ax.get_xscale() == "log"
