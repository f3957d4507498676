from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import DONE_STATES, MOVES, REPORTED_MOVES, JobState
from balsam.logic.moves import Request, Situation, fenced_off, first_state, refusal, walk

J = JobState
PLAIN = Situation(hooks=frozenset(), stages_in=False, stages_out=False, num_runs=1, max_restarts=50)
OLD_CLIENT = replace(PLAIN, hooks=None)
ALL_HOOKS = replace(PLAIN, hooks=frozenset({"preprocess", "postprocess", "handle_error", "handle_timeout"}))


def states(new: JobState, situation: Situation, **data: object) -> list[JobState]:
    return [step.state for step in walk(new, dict(data), situation)]


def test_an_app_without_hooks_makes_no_hop_that_does_nothing() -> None:
    assert states(J.staged_in, PLAIN) == [J.staged_in, J.preprocessed]
    assert states(J.run_done, PLAIN) == [J.run_done, J.job_finished]
    assert states(J.run_error, PLAIN) == [J.run_error, J.failed]
    assert states(J.run_timeout, PLAIN) == [J.run_timeout, J.restart_ready]


def test_hooks_that_exist_or_may_exist_are_waited_for() -> None:
    for situation in (ALL_HOOKS, OLD_CLIENT):
        for state in (J.staged_in, J.run_done, J.run_error, J.run_timeout):
            assert states(state, situation) == [state]


def test_states_that_are_passed_through_have_no_event() -> None:
    assert states(J.postprocessed, PLAIN) == [J.job_finished]
    assert states(J.staged_out, PLAIN) == [J.job_finished]
    assert states(J.ready, ALL_HOOKS) == [J.staged_in]


@pytest.mark.parametrize(
    ("old", "new"),
    [(J.job_finished, J.postprocessed), (J.job_finished, J.staged_out), (J.staged_in, J.ready)],
)
def test_no_event_leads_from_a_state_to_the_same(old: JobState, new: JobState) -> None:
    entered = [step.state for step in walk(new, {"forced": True}, Situation(None, False, False, 0, 50), old)]
    assert entered == [new, old]


def test_staging_is_waited_for() -> None:
    assert states(J.ready, replace(PLAIN, stages_in=True)) == [J.ready]
    assert states(J.postprocessed, replace(PLAIN, stages_out=True)) == [J.postprocessed]
    assert states(J.run_done, replace(PLAIN, stages_out=True)) == [J.run_done, J.postprocessed]


def test_a_job_past_max_restarts_fails_and_says_so() -> None:
    steps = walk(J.run_timeout, {}, replace(PLAIN, num_runs=3, max_restarts=2))
    assert [step.state for step in steps] == [J.run_timeout, J.restart_ready, J.failed]
    assert "max_restarts is 2" in steps[-1].data["message"]


def test_failed_carries_the_reason_of_run_error() -> None:
    failed = walk(J.run_error, {"returncode": 3, "error": "no such file"}, PLAIN)[-1]
    assert failed.data == {"returncode": 3, "error": "no such file"}


def test_a_killed_run_fails_without_its_hook() -> None:
    steps = walk(J.run_error, {"killed": True}, ALL_HOOKS)
    assert [step.state for step in steps] == [J.run_error, J.failed]


@pytest.mark.parametrize("situation", [PLAIN, ALL_HOOKS, OLD_CLIENT])
def test_a_killed_job_ends_where_it_would_wait_for_somebody(situation: Situation) -> None:
    killed = replace(situation, killed_by="ann")
    for state in (J.run_error, J.run_timeout):
        assert states(state, killed) == [state, J.failed]
    assert states(J.restart_ready, killed) == [J.restart_ready, J.failed]
    assert states(J.staged_in, killed)[-1] is J.failed
    assert walk(J.run_timeout, {}, killed)[-1].data == {"message": "killed by ann", "killed": True}
    assert states(J.running, killed) == [J.running]


def test_a_run_that_was_done_before_its_kill_came_is_finished_unless_it_would_wait() -> None:
    assert states(J.run_done, replace(PLAIN, killed_by="ann")) == [J.run_done, J.job_finished]
    assert states(J.run_done, replace(ALL_HOOKS, killed_by="ann")) == [J.run_done, J.failed]


def test_the_end_of_a_killed_run_keeps_its_code() -> None:
    steps = walk(J.run_error, {"killed": True, "by": "ann", "returncode": -15}, ALL_HOOKS)
    assert steps[-1].data == {"returncode": -15, "message": "killed by ann", "killed": True}


situations = st.builds(
    Situation,
    hooks=st.none()
    | st.frozensets(st.sampled_from(["preprocess", "postprocess", "handle_error", "handle_timeout"])),
    stages_in=st.booleans(),
    stages_out=st.booleans(),
    killed_by=st.none() | st.just("ann"),
    num_runs=st.integers(0, 3),
    max_restarts=st.integers(0, 3),
)


@given(situations, st.sampled_from([(old, new) for old, news in REPORTED_MOVES.items() for new in news]))
def test_every_reported_move_leads_along_the_table(
    situation: Situation, move: tuple[JobState, JobState]
) -> None:
    old, new = move
    if new is J.staged_in:  # reported only where everything is staged in
        situation = replace(situation, stages_in=False)
    if new is J.staged_out:
        situation = replace(situation, stages_out=False)
    for step in walk(new, {}, situation):
        assert step.state in MOVES[old], (old, step.state)
        old = step.state


@given(situations, st.sampled_from(JobState))
def test_walks_end(situation: Situation, new: JobState) -> None:
    last = walk(new, {}, situation)[-1].state
    assert last in DONE_STATES or walk(last, {}, situation)[-1].state is last


def test_where_a_new_job_goes() -> None:
    assert first_state(parents_done=False, stages_in=True) is J.awaiting_parents
    assert first_state(parents_done=True, stages_in=True) is J.ready
    assert first_state(parents_done=True, stages_in=False) is J.staged_in


def test_the_fence_lets_only_the_holder_move_a_job() -> None:
    held = Request(holder=7, holder_fenced=True, session_id=None)
    assert "held by session 7" in (refusal(1, J.preprocessed, J.running, held) or "")
    assert "not by session 8" in (fenced_off(1, replace(held, session_id=8)) or "")
    assert fenced_off(1, held) is None, "an owner may change other fields"
    ours = replace(held, session_id=7)
    assert fenced_off(1, ours) is None and refusal(1, J.preprocessed, J.running, ours) is None


def test_the_holder_moves_only_along_the_table() -> None:
    for fenced, session in ((True, 7), (False, None)):
        reason = refusal(1, J.preprocessed, J.run_done, Request(7, fenced, session))
        assert reason == "job 1 is PREPROCESSED: it can't go to RUN_DONE"


def test_an_owner_may_force_what_nobody_holds_but_a_lost_session_may_not() -> None:
    free = Request(holder=None, holder_fenced=None, session_id=None)
    assert refusal(1, J.failed, J.staged_in, free) is None
    assert "does not hold" in (fenced_off(1, replace(free, session_id=7)) or "")


def test_a_sites_token_moves_what_nobody_holds_only_along_the_table() -> None:
    site = Request(holder=None, holder_fenced=None, session_id=None, may_force=False)
    assert refusal(1, J.preprocessed, J.job_finished, site) is not None
    assert refusal(1, J.run_error, J.restart_ready, site) is None
