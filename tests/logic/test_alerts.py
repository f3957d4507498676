"""When alerts begin and are over, and what is said of them: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.alerts import DEFAULTS, AlertKind, News
from balsam.logic import alert_messages
from balsam.logic.alerts import CALM_US, MINUTE_US, Alert, Decision, Message, Symptom, Terms, Verdict, decide
from balsam.logic.symptoms import failure_rate, idle_allocation
from balsam.store.symptoms import Ended

MIN = MINUTE_US
START = 1_000_000 * MIN
AT_ONCE = Terms(hold=0, calm=5 * MIN, remind=0)
B, M, W = Verdict.BAD, Verdict.BETWEEN, Verdict.WELL


def told(decision: Decision) -> list[tuple[str, list[int]]]:
    return [(one.event.value, [alert.subject for alert in one.alerts]) for one in decision.messages]


def play(terms: Terms, looks: Mapping[int, Verdict | None], since: int = 0) -> dict[int, list[str]]:
    """What is told at which minute of one subject, from how it looks at each; None: it is not there."""
    known: dict[int, Alert] = {}
    said = {}
    for minute, verdict in looks.items():
        seen = [] if verdict is None else [Symptom(7, verdict, f"minute {minute}", since)]
        decision = decide(known, seen, terms, START + minute * MIN)
        known = decision.alerts
        if decision.messages:
            said[minute] = [one.event.value for one in decision.messages]
    return said


def test_one_message_when_it_begins_and_one_when_it_is_over() -> None:
    looks = {0: W, 1: B, 2: B, 3: B, 4: W, 5: W, 8: W, 9: W, 10: W}
    assert play(AT_ONCE, looks) == {1: ["began"], 9: ["over"]}


def test_what_hovers_at_its_threshold_sends_nothing_more() -> None:
    looks = {minute: (B, W, W, M)[minute % 4] for minute in range(60)}
    assert play(AT_ONCE, looks) == {0: ["began"]}


def test_between_bad_and_well_it_stays_as_it_was() -> None:
    assert play(AT_ONCE, dict.fromkeys(range(30), M)) == {}
    assert play(AT_ONCE, {0: B} | dict.fromkeys(range(1, 30), M)) == {0: ["began"]}


def test_it_begins_after_it_was_bad_all_the_time() -> None:
    held = Terms(hold=3 * MIN, calm=MIN, remind=0)
    assert play(held, {0: B, 1: B, 2: W, 3: B, 4: B, 5: B, 6: B}) == {6: ["began"]}
    assert play(held, {0: B, 1: B, 2: M, 3: B, 4: B, 5: B}) == {}


def test_a_look_that_says_since_when_shortens_nothing() -> None:
    held = Terms(hold=3 * MIN, calm=MIN, remind=0)
    assert play(held, {0: B, 3: B}, since=START + MIN) == {}
    assert play(held, {0: B, 4: B}, since=START + MIN) == {4: ["began"]}


def test_a_restart_of_the_server_neither_begins_nor_ends_anything() -> None:
    held = Terms(hold=30 * MIN, calm=5 * MIN, remind=0)
    up = START + 100 * MIN

    def seen(verdict: Verdict = B) -> list[Symptom]:
        return [Symptom(1, verdict, "none starts", since=START - 60 * MIN, seen_since=up)]

    fires = {1: Alert(1, bad_since=START, firing_since=START + 30 * MIN, told=START + 30 * MIN)}
    waits = {1: Alert(1, bad_since=START)}
    for minutes in (101, 110, 129):
        now = START + minutes * MIN
        assert decide(fires, seen(), held, now).messages == ()
        assert decide(fires, seen(), held, now).alerts[1].well_since is None
        assert decide(waits, seen(), held, now).messages == ()
    assert told(decide(waits, seen(), held, START + 130 * MIN)) == [("began", [1])]


def test_a_job_that_starts_ends_a_stalled_backlog_though_others_wait() -> None:
    held = Terms(hold=30 * MIN, calm=5 * MIN, remind=0)
    fires = {1: Alert(1, bad_since=START, firing_since=START + 30 * MIN, told=START + 30 * MIN)}
    looked = decide(fires, [Symptom(1, B, "one started", START + 31 * MIN)], held, START + 32 * MIN)
    assert looked.messages == ()
    over = decide(looked.alerts, [Symptom(1, B, "one started", START + 31 * MIN)], held, START + 37 * MIN)
    assert told(over) == [("over", [1])]
    assert over.alerts[1].bad_since == START + 31 * MIN and over.alerts[1].firing_since is None


def test_what_is_no_longer_there_is_over_at_once() -> None:
    assert play(AT_ONCE, {0: B, 1: None, 2: None}) == {0: ["began"], 1: ["over"]}
    assert play(AT_ONCE, {0: W, 1: None}) == {}


def test_reminders_come_at_most_every_so_often() -> None:
    reminding = Terms(hold=0, calm=MIN, remind=10 * MIN)
    said = play(reminding, dict.fromkeys(range(35), B))
    assert said == {0: ["began"], 10: ["reminder"], 20: ["reminder"], 30: ["reminder"]}


def test_many_that_begin_at_once_are_one_message() -> None:
    seen = [Symptom(subject, B, "down") for subject in range(50)]
    first = decide({}, seen, AT_ONCE, START)
    assert told(first) == [("began", list(range(50)))]
    later = decide(first.alerts, [*seen, Symptom(99, B, "down")], AT_ONCE, START + MIN)
    assert told(later) == [("began", [99])]


def test_nothing_is_kept_of_what_is_well() -> None:
    assert decide({}, [Symptom(1, W, "fine")], AT_ONCE, START).alerts == {}


@given(st.lists(st.sampled_from([*Verdict, None]), max_size=80), st.integers(0, 8), st.integers(0, 8))
def test_each_begin_has_one_end(looks: list[Verdict | None], hold: int, calm: int) -> None:
    said = play(Terms(hold * MIN, calm * MIN, 0), dict(enumerate(looks)))
    events = [event for at_once in said.values() for event in at_once]
    assert events == [("began", "over")[place % 2] for place in range(len(events))]


def test_minutes_are_how_long_or_within_which_time() -> None:
    assert Terms.of(AlertKind.stalled_backlog, 60, 24) == Terms(60 * MIN, CALM_US, 24 * 60 * MIN)
    assert Terms.of(AlertKind.idle_allocation, 2, 0) == Terms(2 * MIN, 2 * MIN, 0)
    assert Terms.of(AlertKind.site_down, 10, 0).hold == 0
    assert Terms.of(AlertKind.failure_rate, 60, 0).hold == 0


@pytest.mark.parametrize(
    ("failed", "finished", "verdict"),
    [(0, 0, W), (2, 2, M), (2, 8, B), (3, 7, B), (17, 83, M), (15, 85, W), (100, 0, B), (0, 9, W)],
)
def test_a_failure_rate_needs_enough_jobs(failed: int, finished: int, verdict: Verdict) -> None:
    found = failure_rate(Ended(failed, finished, START), 0.2, 10, START + 60 * MIN)
    assert found.verdict is verdict
    assert f"{failed} of the {failed + finished} job" in found.sentence


@pytest.mark.parametrize(
    ("busy", "threshold", "verdict"),
    [(0.0, 0.1, B), (0.39, 0.1, B), (0.4, 0.1, M), (0.5, 0.1, W), (3.9, 1.0, B), (4.0, 1.0, W)],
)
def test_an_idle_allocation_is_one_below_the_threshold(
    busy: float, threshold: float, verdict: Verdict
) -> None:
    assert idle_allocation(3, 4, busy, threshold, 0).verdict is verdict


def test_every_kind_has_its_defaults_and_title() -> None:
    assert set(DEFAULTS) == set(AlertKind) == set(alert_messages.TITLES)


RULE: dict[str, Any] = {
    "id": 3,
    "kind": "site_down",
    "site_ids": None,
    "tags": {},
    "minutes": 10.0,
    "threshold": None,
}


def test_a_message_names_some_of_many_and_counts_the_rest() -> None:
    alerts = tuple(Alert(subject, firing_since=START, sentence=f"Site {subject}.") for subject in range(50))
    said = alert_messages.body(RULE, Message(News.began, alerts), START)
    assert len(said["alerts"]) == 20 and said["more"] == 30
    assert said["text"].splitlines()[0] == "Site 0."
    assert said["text"].splitlines()[-1] == "And 30 others like these."


def test_the_end_tells_how_long_it_lasted() -> None:
    message = Message(News.over, (Alert(1, firing_since=START, sentence="Well."),))
    said = alert_messages.body(RULE, message, START + 90 * MIN)
    assert said["text"] == "Well. It lasted 90 min." and said["title"] == "over: a site is down"
