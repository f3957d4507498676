"""Grid Engine's words and outputs. The outputs were printed by Grid Engine 8.1.9."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    Later,
    Submitted,
    Unsure,
)
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Done
from balsam.platform.schedulers.grid_engine import GridEngine
from balsam.platform.schedulers.grid_engine_words import cause_of, state_of
from tests.platform.grid_engine_text import QACCT_1, QACCT_10, QSTAT
from tests.platform.submissions import SUBMISSION

A = AllocationState
SYSTEM = GridEngine()
WHY = """\
==============================================================
job_number:                 10
job_name:                   balsam-9
error reason    1:          11/30/2026 14:50:21 [0:11]: error: can't chdir to /nosuch: No such file
==============================================================
job_number:                 19
job_name:                   balsam-17
"""


def test_a_submission_refuses_what_would_wait_for_ever_and_is_warned_before_its_end() -> None:
    """Kind: a request beyond all limits is taken and waits; a deletion kills without a word."""
    assert SYSTEM.submit(SUBMISSION).words == (
        *("qsub", "-terse", "-N", "babc234-7", "-j", "y", "-o", "/site/q 100%/o", "-wd", "/site"),
        *("-S", "/bin/bash", "-notify", "-w", "e", "-pe", "mpi", "2", "-l", "h_rt=5400", "-r", "n"),
        *("-q", "batch", "-P", "acct1", "/site/q 100%/s.sh"),
    )
    form = SubmitForm("", "", ["-l", "exclusive=true"], "-pe one {num_nodes}", True)
    assert {"one", "exclusive=true", "y"} <= set(GridEngine(form).submit(SUBMISSION).words)


@pytest.mark.parametrize(
    ("done", "kind"),
    [
        (Done(0, "1\n"), Submitted("1")),
        (Done(0, "hello\n11.1-4:1\n"), Submitted("11")),
        (Done(0, "1"), Unsure),
        (Done(0), Unsure),
        (Done(None), Unsure),
        (Done(1, "", "Unable to run job: error: no suitable queues\nExiting.\n"), Declined),
        (Done(1, "", 'Unable to run job: job requests unknown queue "nosuch"\nExiting.\n'), Declined),
        (Done(1, 'Unable to run job: the requested project "nosuch" does not exist\n'), Declined),
        (Done(1, "", "error: commlib error: got select error (Connection refused)\n"), Later),
        (Done(1, "", "what is this\n"), Unsure),
    ],
)
def test_what_became_of_a_submission(done: Done, kind: object) -> None:
    outcome = SYSTEM.read_submission(done)
    assert outcome == kind or type(outcome) is kind


def test_states_are_sets_of_letters() -> None:
    """Kind: a combination of letters that is in no list ends the reading."""
    states = {
        "qw": A.queued,
        "hqw": A.queued,
        "Rq": A.queued,
        "Eqw": A.queued,
        "t": A.running,
        "Rr": A.running,
    }
    states |= {
        "dr": A.ending,
        "dhr": A.ending,
        "S": A.running,
        "hr": A.running,
        "": A.unknown,
        "rx": A.unknown,
    }
    assert {letters: state_of(letters) for letters in states} == states


def test_a_listing_tells_states_reasons_and_whole_names() -> None:
    view = SYSTEM.read_look([Done(0, QSTAT), Done(0, WHY)])
    found = {one.scheduler_id: one for one in view.allocations}
    assert view.complete
    assert {number: one.state for number, one in found.items() if number != "11"} == {
        "17": A.running,
        **dict.fromkeys(("7", "5", "10", "19", "15", "14", "8"), A.queued),
    }
    assert [number for number, one in found.items() if one.never] == ["10", "19", "15", "8"]
    assert "can't chdir to /nosuch" in found["10"].reason and "qmod" in found["19"].reason
    start = int(datetime(2026, 11, 30, 14, 50, 22).timestamp()) * 1_000_000
    assert (found["17"].start_us, found["17"].label, found["17"].queue) == (start, "balsam-15", "batch")
    [call] = SYSTEM.details([Done(0, QSTAT)], recorded=False)
    assert call.words == ("qstat", "-j", "10,19,15")


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "error: commlib error: got select error (Connection refused)\n"),
        Done(0),
        Done(None, QSTAT, "late"),
        Done(0, QSTAT[:-8]),
        Done(0, QSTAT.replace("<JB_job_number>17<", "<JB_job_number>x<")),
        Done(0, QSTAT.replace("<state>r</state>", "")),
    ],
)
def test_a_listing_that_is_not_whole_says_so(done: Done) -> None:
    view = SYSTEM.read_look([done])
    assert not view.complete and view.trouble


def test_accounting_tells_ends_and_does_not_know_those_that_run() -> None:
    """Kind: what accounting does not know yet is taken for what it can't tell."""
    missing = Done(1, "", "error: job id 17 not found\n")
    lives, trouble, kept = SYSTEM.read_account([Done(0, QACCT_1), missing, Done(0, QACCT_10)])
    assert (trouble, kept) == ("", True)
    told = [(life.scheduler_id, life.label, life.cause) for life in lives]
    assert told == [
        ("1", "balsam-1", "exit 0"),
        ("10", "balsam-9", "failed to start: changing into working directory"),
    ]
    assert (lives[0].end_us or 0) - (lives[0].start_us or 0) == 1_000_000
    assert lives[1].start_us is lives[1].end_us is None
    assert SYSTEM.read_account([Done(1, "", "accounting file is away\n")])[1] == "accounting file is away"
    cut = Done(0, QACCT_1[: QACCT_1.index("exit_status")])
    assert SYSTEM.read_account([cut]) == ([], "", True)


@pytest.mark.parametrize(
    ("failed", "status", "cause"),
    [
        ("0", "7", "exit 7"),
        ("100 : assumedly after job", "137                  (Killed)", "killed by signal 9"),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137", "walltime"),
        ("25  : rescheduling", "99", "requeued"),
        ("26  : opening input/output file", "0", "exit: opening input/output file"),
        ("0", "", "exit: and nobody tells how"),
    ],
)
def test_causes(failed: str, status: str, cause: str) -> None:
    assert cause_of(failed, status, ran=True) == cause


def test_deletion_of_what_is_gone_is_done() -> None:
    assert SYSTEM.delete(Allocation("7", "b", A.running), True).words == ("qdel", "7")
    assert SYSTEM.read_deletion(Done(1, 'denied: job "999" does not exist\n')) == ""
    assert SYSTEM.read_deletion(Done(1, "", "away\n")) == "away"


@given(st.integers(0, len(QSTAT)), st.integers(0, 200), st.text(max_size=10))
def test_a_garbled_listing_shows_no_end(at: int, cut: int, noise: str) -> None:
    """Kind: damage in an output is taken for news."""
    view = SYSTEM.read_look([Done(0, QSTAT[:at] + noise + QSTAT[at + cut :])])
    assert not [one for one in view.allocations if one.state is A.ended]


@given(st.text(max_size=200))
def test_no_output_makes_a_reader_raise(text: str) -> None:
    for code in (0, 1, None):
        done = Done(code, text, text)
        SYSTEM.read_submission(done)
        SYSTEM.read_deletion(done)
        SYSTEM.read_account([done])
        SYSTEM.details([done], False)
        SYSTEM.read_look([done, done])
