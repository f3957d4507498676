from balsam.core.states import DONE_STATES, MOVES, REPORTED_MOVES, JobState, is_legal_walk, may_report

J = JobState


def test_nothing_leaves_an_end_state_by_itself() -> None:
    assert all(not MOVES[state] for state in DONE_STATES)


def test_every_state_but_the_first_can_be_entered() -> None:
    entered = {new for moves in MOVES.values() for new in moves}
    assert entered == set(JobState) - {J.created}


def test_a_running_job_fails_only_through_run_error() -> None:
    assert J.failed not in MOVES[J.running]
    assert may_report(J.running, J.run_error)


def test_what_may_be_reported_is_legal() -> None:
    assert all(news <= MOVES[old] for old, news in REPORTED_MOVES.items())


def test_a_walk_is_judged_step_by_step() -> None:
    good = [J.created, J.staged_in, J.preprocessed, J.running, J.run_done, J.job_finished]
    assert is_legal_walk(good)
    assert not is_legal_walk([J.created, J.running])
    assert not is_legal_walk([*good, J.failed])
