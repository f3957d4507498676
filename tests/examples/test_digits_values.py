"""What the demonstration decides and shows, as values."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from balsam.schemas.analytics import StateTimeOut, SummaryOut
from examples import report
from examples.digits.campaign import settings
from examples.digits.watch import lanes_to_submit


@pytest.mark.parametrize(
    ("work", "active", "done", "wanted"),
    [
        ("ab", "", 0.0, ["a"]),
        ("ab", "a", 0.05, []),
        ("ab", "a", 0.1, ["b"]),
        ("ab", "", 0.6, ["a", "b"]),
        ("b", "", 0.6, ["b"]),
        ("", "", 1.0, []),
    ],
)
def test_lanes_get_nodes_while_they_have_work(work: str, active: str, done: float, wanted: list[str]) -> None:
    assert lanes_to_submit(work, active, done) == wanted


def test_the_search_is_about_150_settings_of_five_families_and_no_two_alike() -> None:
    found = settings()
    assert 140 <= len(found) <= 160
    assert len({one.family for one in found}) == 5
    assert len({(one.family, str(one.settings)) for one in found}) == len(found)
    assert sum(one.fails for one in found) == 3


@pytest.mark.filterwarnings("ignore")
def test_the_mistakes_really_are_mistakes() -> None:
    from sklearn.datasets import load_digits

    from examples.digits.apps import estimator

    digits = load_digits()

    def train(family: str, chosen: dict[str, Any]) -> None:
        estimator(family, chosen).fit(digits.data[:200], digits.target[:200]).predict(digits.data[:10])

    for one in settings():
        if one.fails or one.settings.get("penalty") == "l1":
            with pytest.raises(ValueError):
                train(one.family, one.settings)
    train("linear-svc", {"C": 0.02, "penalty": "l1", "dual": False})


def test_report_shows_states_and_node_hours() -> None:
    times = [StateTimeOut(state="RUNNING", stays=3, median_sec=0.25)]
    summary = SummaryOut(
        jobs_by_state={"JOB_FINISHED": 2, "FAILED": 1},
        state_times=times,
        node_hours_busy=0.01,
        node_hours_available=0.04,
        skewed_events=0,
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report.states_table(summary))
    text = capture.get()
    assert "0.250" in text and "FAILED" in text
    assert report.node_hours(summary) == "0.0100 node-hours used (25%), 0.0300 idle"
    unknown = summary.model_copy(update={"node_hours_available": 0.0})
    assert "%" not in report.node_hours(unknown)
