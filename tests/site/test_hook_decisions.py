"""What hooks mean for jobs, and the agent's pauses, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balsam.client.errors import ServerUnreachable
from balsam.core.states import JobState
from balsam.runtime.requests import Kind, Reply
from balsam.site import hooks
from balsam.site.processing import acquire_gap, room_for
from balsam.site.services import LONGEST_RETRY_SEC, Bell, Outage, Stop, restart_pause, retry_pause
from balsam.site.wire_text import storable

J = JobState
APP = {"id": 4, "name": "App", "serialized_class": "", "hooks": None, "isolate": False}


def job(state: J) -> dict[str, Any]:
    return {"id": 1, "state": state.value, "workdir": "a/b", "app_id": 4}


def reply(state: J, **values: Any) -> Reply:
    request = hooks.request_for(job(state), APP, Path("/site/data"), 9)
    return Reply(**{"request": request, "ok": True, "ended_us": 1_000_000, **values})


@pytest.mark.parametrize(
    ("state", "hook", "after"),
    [
        (J.staged_in, Kind.preprocess, J.preprocessed),
        (J.run_done, Kind.postprocess, J.postprocessed),
        (J.run_error, Kind.handle_error, J.failed),
        (J.run_timeout, Kind.handle_timeout, J.restart_ready),
    ],
)
def test_each_waiting_state_has_its_hook_and_its_default_move(state: J, hook: Kind, after: J) -> None:
    assert reply(state).request.kind is hook
    assert hooks.outcome(job(state), reply(state)) == {
        "id": 1,
        "state": after,
        "state_timestamp": "1970-01-01T00:00:01",
        "state_data": {},
    }
    assert hooks.default_outcome(job(state), 1_000_000)["state"] is after


def test_the_request_names_workdir_and_session() -> None:
    request = reply(J.staged_in).request
    assert (request.workdir, request.session_id) == ("/site/data/a/b", 9)


def test_user_code_is_called_unless_the_app_says_that_it_has_no_such_hook() -> None:
    assert hooks.needs_worker(job(J.staged_in), APP)
    assert hooks.needs_worker(job(J.staged_in), {**APP, "hooks": ["preprocess"]})
    assert not hooks.needs_worker(job(J.staged_in), {**APP, "hooks": ["postprocess"]})


def test_fields_that_the_hook_changed_travel_with_the_state_it_chose() -> None:
    changes = {"state": "RESTART_READY", "data": {"x": 1}, "state_data": {"why": "again"}}
    update = hooks.outcome(job(J.run_done), reply(J.run_done, changes=changes))
    assert update["state"] is J.restart_ready
    assert (update["data"], update["state_data"]) == ({"x": 1}, {"why": "again"})
    assert hooks.reason_of_failure(update) is None


def test_a_hook_that_raises_fails_its_job_with_the_reason() -> None:
    raised = reply(J.staged_in, ok=False, error="Traceback\nValueError: no", serialized_exception="abc")
    update = hooks.outcome(job(J.staged_in), raised)
    assert update["state"] is J.failed
    told = "Traceback\nValueError: no"
    assert update["state_data"] == {"message": "preprocess() failed", "error": told, "exception": told}
    assert update["serialized_exception"] == "abc"
    assert hooks.reason_of_failure(update) == "preprocess() failed: ValueError: no"


def test_the_exception_of_the_run_is_kept_when_its_handler_raises() -> None:
    raised = reply(J.run_error, ok=False, error="x", serialized_exception="abc")
    assert "serialized_exception" not in hooks.outcome(job(J.run_error), raised)


def test_a_state_that_can_not_follow_fails_the_job_with_both_states_named() -> None:
    update = hooks.outcome(job(J.staged_in), reply(J.staged_in, changes={"state": "RUNNING"}))
    assert update["state"] is J.failed
    assert "to RUNNING" in update["state_data"]["message"] and "STAGED_IN" in update["state_data"]["message"]


def test_a_hook_that_fails_its_job_on_purpose_is_no_failure_of_the_hook() -> None:
    update = hooks.outcome(job(J.run_done), reply(J.run_done, changes={"state": "FAILED"}))
    assert update["state"] is J.failed and hooks.reason_of_failure(update) is None


@pytest.mark.parametrize(
    ("depth", "in_hand", "room"), [(1000, 0, 1000), (1000, 800, 0), (1000, 750, 250), (1, 0, 1), (1, 1, 0)]
)
def test_jobs_are_asked_for_in_good_portions(depth: int, in_hand: int, room: int) -> None:
    assert room_for(depth, in_hand) == room


def test_one_request_never_asks_for_more_than_the_server_gives() -> None:
    assert room_for(10_000, 0) == 2_048


def test_rings_in_vain_slow_the_requests_down_to_one_a_second() -> None:
    gaps = [acquire_gap(n) for n in range(60)]
    assert gaps == sorted(gaps) and gaps[0] < 0.05 and gaps[-1] == 1.0


def test_texts_are_made_storable() -> None:
    assert storable("a\0b\ud800") == "a\ufffdb?"
    assert storable("x" * 10, 3) == "xxx"


def test_retries_slow_down_to_a_few_seconds_and_no_further() -> None:
    pauses = [retry_pause(n, 1.0) for n in range(1, 60)]
    assert pauses == sorted(pauses) and pauses[0] <= 1.0 and pauses[-1] == LONGEST_RETRY_SEC
    assert restart_pause(1) == 1.0 and restart_pause(1000) == 30.0


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter([100.0, 107.5])
    outage = Outage(lambda: next(times))
    with caplog.at_level("INFO"):
        for _ in range(3):
            outage.failed(ServerUnreachable("http://here", "refused"))
        outage.answered()
        outage.answered()
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert "after 7.5 s" in caplog.text


def test_a_ring_during_the_work_is_kept_for_the_next_wait() -> None:
    bell = Bell()
    bell.ring()
    assert bell.wait(0.0)
    assert not bell.wait(0.0)


def test_the_stop_rings_all_bells_and_keeps_its_first_reason() -> None:
    stop = Stop()
    bell = stop.bell()
    stop.set("the token was revoked")
    stop.set()
    assert stop.is_set() and bell.wait(0.0) and stop.reason == "the token was revoked"
