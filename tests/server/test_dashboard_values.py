"""What pages are made of, as values: segments of a life, boxes of a family, filters, words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from starlette.datastructures import FormData, QueryParams

from balsam.core.states import BatchJobState, JobState, TransferItemState
from balsam.server.dashboard import apps as dashboard_apps
from balsam.server.dashboard import family, history, words
from balsam.server.dashboard.choice import Choice
from balsam.server.dashboard.login import _then
from balsam.server.dashboard.submission import parameter, wanted_job


def event(old: str, new: str, entered: int, at: int) -> dict[str, object]:
    return {"from_state": old, "to_state": new, "entered": entered, "timestamp": at}


LIFE = [
    event("CREATED", "STAGED_IN", 0, 0),
    event("STAGED_IN", "PREPROCESSED", 0, 10),
    event("PREPROCESSED", "RUNNING", 10, 1_000_000),
    event("RUNNING", "RUN_TIMEOUT", 1_000_000, 1_000_020),
    event("RUN_TIMEOUT", "RESTART_READY", 1_000_020, 1_000_030),
]


def test_a_life_is_its_stays_with_the_one_that_goes_on() -> None:
    found = history.stays(LIFE, "RESTART_READY", 1_000_030)
    assert [(one.state, one.attempt) for one in found] == [
        ("STAGED_IN", 0),
        ("PREPROCESSED", 0),
        ("RUNNING", 1),
        ("RUN_TIMEOUT", 1),
        ("RESTART_READY", 1),
    ]
    assert found[-1].end is None
    assert history.stays(LIFE, "FAILED", 5)[-1].state == "RUN_TIMEOUT"


def test_a_short_run_after_long_waiting_is_still_to_be_seen() -> None:
    placed = history.laid_out(history.stays(LIFE, "RESTART_READY", 1_000_030), 1_000_040)
    assert min(one.width for one in placed) >= history.NARROWEST
    assert placed[-1].x + placed[-1].width == pytest.approx(history.WIDTH, abs=0.1)
    assert placed[1].width > 900
    many = history.laid_out([history.Segment("RUNNING", n, n + 1, 1) for n in range(5000)], 9999)
    assert many[-1].x + many[-1].width <= history.WIDTH + 30
    assert history.laid_out([], 5) == []


def row(number: int, state: str = "RUNNING") -> dict[str, object]:
    return {"id": number, "workdir": f"w{number}", "state": state}


def test_a_family_is_drawn_around_the_job_and_no_larger_than_is_shown() -> None:
    drawn = family.drawn([row(1), row(2)], row(3), [row(n) for n in range(4, 40)])
    assert [box.id for box in drawn.boxes if not box.is_link] == [3]
    assert len(drawn.boxes) == 3 + family.SHOWN and len(drawn.lines) == 2 + family.SHOWN
    assert all(0 <= box.y <= drawn.height - family.BOX_HEIGHT for box in drawn.boxes)
    assert all(left < right for left, _, right, _ in drawn.lines)


def test_empty_fields_of_a_form_filter_nothing() -> None:
    choice = Choice.of(QueryParams("state=&app_id=&tags=&workdir__contains=%20&after=x"))
    assert choice.fields == {} and choice.query == ""


def test_tags_of_one_field_are_apart_where_a_new_key_begins() -> None:
    choice = Choice.of(QueryParams([("tags", "a:b,c d: e:f,g"), ("tags", "h:")]))
    assert choice.selection.filter().tags == {"a": "b,c d: e:f,g", "h": ""} or choice.fields["tags"]
    assert Choice.of(QueryParams("tags=a:1, b:2,3, c:4")).fields["tags"] == ["a:1", "b:2,3", "c:4"]


def test_a_choice_comes_back_as_it_went_into_the_address() -> None:
    choice = Choice.of(
        QueryParams("state=FAILED&state=RUNNING&tags=a:b, c:d&workdir__contains=x&batch_job_id=7")
    )
    again = Choice.of(QueryParams(choice.query))
    assert again.selection == choice.selection and again.fields == choice.fields
    assert Choice.of(FormData([*choice.pairs()])).selection == choice.selection


def test_what_is_no_filter_is_refused() -> None:
    for query in ("state=NO", "app_id=-1", "app_id=x", "last_update_after=yesterday-ish"):
        with pytest.raises(ValidationError):
            Choice.of(QueryParams(query))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.5", 3.5),
        ("true", True),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ("abc", "abc"),
        ("01", "01"),
        ("NaN", "NaN"),
    ],
)
def test_parameters_are_json_where_they_can_be(text: str, value: object) -> None:
    assert parameter(text) == value


def test_a_form_asks_for_what_it_says_and_defaults_for_the_rest() -> None:
    form = FormData(
        {
            "app_id": "4",
            "workdir": "w",
            "parent_ids": "1, 2 3",
            "num_nodes": "",
            "parameter:x": "1",
            "other": "y",
        }
    )
    want = wanted_job(form)
    assert (want.app_id, want.parent_ids, want.num_nodes, want.parameters_json) == (4, {1, 2, 3}, 1, {"x": 1})


def test_a_login_leads_back_to_our_pages_only() -> None:
    assert _then("/ui/jobs?state=FAILED") == "/ui/jobs?state=FAILED"
    for path in ("", "/", "//x", "https://x", "/uix", "/jobs/", "/ui/\\x", "/ui/a\nb"):
        assert _then(path) == "/ui/"


def test_every_state_has_a_meaning() -> None:
    for states in (JobState, BatchJobState, TransferItemState):
        assert all(state in words.KINDS for state in states)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (None, "\N{EN DASH}"),
        (-5, "0.0 s"),
        (1_500_000, "1.5 s"),
        (61e6, "1 min 1 s"),
        (3600e6, "1 h 0 min"),
        (90_061e6, "1 d 1 h"),
    ],
)
def test_durations_are_told_in_two_units(us: float | None, text: str) -> None:
    assert words.duration(us) == text


def test_numbers_are_grouped() -> None:
    assert words.number(1234567).replace("\u202f", " ") == "1 234 567"
    assert words.number(0.5) == "0.5" and words.number(0.000123) == "0.000123" and words.number(3.0) == "3"


def test_a_time_of_another_day_tells_its_date() -> None:
    now = 1_772_000_000_000_000
    assert ">06:13:20<" in words.clock(now, now)
    assert ">2026-02-24 06:13:20<" in words.clock(now - 86_400_000_000, now)


def test_versions_tell_what_changed_and_the_difference_of_their_texts() -> None:
    rows = [
        {"number": 3, "digest": "a", "source_code": "one\n", "parts": {"f": "1", "g": "2"}},
        {"number": 2, "digest": "b", "source_code": "one\n", "parts": {"f": "2"}},
        {"number": 1, "digest": "a", "source_code": "two\n", "parts": None},
    ]
    shown = dashboard_apps.versions(rows)
    assert [one.changed for one in shown] == [["f", "g"], None, None]
    assert [one.restores for one in shown] == [1, None, None]
    assert shown[0].difference == "" and shown[2].difference is None
    assert "-two\n+one\n" in (shown[1].difference or "")
