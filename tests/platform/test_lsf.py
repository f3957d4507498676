"""LSF's words and outputs, written after recorded ones and the manual."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.clock import now_us
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
from balsam.platform.schedulers.lsf import Lsf, end_of_allocation, read_end
from tests.platform.submissions import SUBMISSION

A = AllocationState


def us(*moment: int) -> int:
    return int(datetime(*moment).timestamp()) * 1_000_000  # type: ignore[arg-type]


NOW_US = us(2026, 1, 5, 12, 0)
LSF = Lsf(clock=lambda: NOW_US)
LISTED = """\
764254593|RUN|-|renamed|2|4*n1:4*n2|Jan  5 11:46|Jan  5 12:46 L|Dec 31 23:40|-|babc234-7
11|PEND|-|test|-|-|-|-|Jan  5 11:40|-|a name | with bars
12|PSUSP|-|test|-|-|-|-|Jan  5 11:40|-|babc234-8
13|UNKWN|-|test|1|n3|Jan  5 11:46|Jan  5 12:46 L|Jan  5 11:40|-|babc234-9
14|ZOMBI|-|test|1|n3|Jan  5 11:46|-|Jan  5 11:40|-|babc234-10
"""
ENDED = """\
1|DONE|0|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|-|a
2|EXIT|7|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|-|a
3|EXIT|140|test|1|n1|Jan  5 10:00|Jan  5 11:00 X|Jan  5 09:00|TERM_RUNLIMIT: job killed after run limit|a
4|EXIT|137|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|TERM_MEMLIMIT: job killed|a
5|EXIT|130|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|TERM_OWNER: job killed by owner|a
6|EXIT|130|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|TERM_ADMIN: job killed by root|a
7|EXIT|130|test|1|n1|Jan  5 10:00|Jan  5 11:00|Jan  5 09:00|TERM_PREEMPT: job killed|a
8|EXIT|1|test|1|n1|Jan  5 10:00|Jan  5 11:00 2026|Jan  5 09:00 2026|TERM_UNKNOWN: who knows|a
"""


def test_a_submission_goes_to_standard_input_with_whole_nodes() -> None:
    """Kind: directives of a script that is named, and not given, are not read."""
    call = LSF.submit(SUBMISSION)
    assert call.stdin == SUBMISSION.script and call.exports
    assert call.words == (
        *("bsub", "-J", "babc234-7", "-o", "/site/q 100%/o", "-cwd", "/site", "-n", "2"),
        *("-R", "span[ptile=1]", "-W", "90", "-rn", "-x", "-q", "batch", "-P", "acct1"),
    )
    form = SubmitForm("", "", [], "-nnodes {num_nodes}", True)
    assert Lsf(form).submit(SUBMISSION).words[7:] == ("-nnodes", "2", "-W", "90", "-r")


@pytest.mark.parametrize(
    ("done", "kind"),
    [
        (Done(0, "Job <764254593> is submitted to queue <test>.\n"), Submitted("764254593")),
        (Done(0, "hello\nJob <7> is submitted to default queue <a b>.\n"), Submitted("7")),
        (Done(None, "Job <7> is submitted to queue <q>.\n", "late"), Submitted("7")),
        (Done(0, "Job <7> is submitted to queue <q"), Unsure),
        (Done(0), Unsure),
        (Done(255, "", "something\n"), Unsure),
        (Done(255, "", "nosuch: No such queue. Job not submitted.\n"), Declined),
        (Done(255, "", "User pending job limit has been reached. Job not submitted.\n"), Later),
    ],
)
def test_what_became_of_a_submission(done: Done, kind: object) -> None:
    outcome = LSF.read_submission(done)
    assert outcome == kind or type(outcome) is kind


def test_a_listing_tells_states_nodes_and_times_without_years() -> None:
    """Kind: UNKWN is taken for the end; a time of last year for one of this, or one to come."""
    view = LSF.read_look([Done(0, LISTED)])
    runs, waits, held, away, strange = view.allocations
    assert view.complete
    states = [one.state for one in view.allocations]
    assert states == [A.running, A.queued, A.queued, A.running, A.unknown]
    assert (runs.start_us, runs.submit_us, runs.end_us) == (
        us(2026, 1, 5, 11, 46),
        us(2025, 12, 31, 23, 40),
        None,
    )
    assert (runs.nodes, runs.queue) == ("n1,n2", "renamed") and waits.label == "a name | with bars"
    assert held.never and not waits.never and away.nodes == "n3" and strange.end_us is None


@pytest.mark.parametrize(
    ("done", "complete"),
    [
        (Done(255, "", "No unfinished job found\n"), True),
        (Done(255, LISTED, "Job <9> is not found\n"), True),
        (Done(255, "", "LSF is down. Please wait ...\n"), False),
        (Done(None, LISTED, "late"), False),
        (Done(0, LISTED[:-4]), False),
        (Done(0, LISTED.replace("|RUN|", "|", 1)), False),
    ],
)
def test_a_listing_is_whole_or_says_so(done: Done, complete: bool) -> None:
    view = LSF.read_look([done])
    assert view.complete is complete and bool(view.trouble) is not complete


def test_ends_have_causes() -> None:
    lives, trouble, kept = LSF.read_account([Done(255, ENDED, "Job <9> is not found\n")])
    assert (trouble, kept) == ("", True)
    assert [life.cause for life in lives] == [
        "exit 0",
        "exit 7",
        "walltime",
        "out of memory",
        "cancelled outside of Balsam: by its owner",
        "cancelled outside of Balsam: by an administrator",
        "preempted",
        "exit: TERM_UNKNOWN: who knows",
    ]
    assert {life.end_us for life in lives} == {us(2026, 1, 5, 11, 0)}


def test_deletion_of_what_is_gone_is_done() -> None:
    one = Allocation("7", "b", A.running)
    assert LSF.delete(one, True).words == ("bkill", "-s", "TERM", "7")
    assert LSF.delete(one, False).words == ("bkill", "7")
    assert LSF.read_deletion(Done(255, "", "Job <7>: No matching job found\n")) == ""
    assert LSF.read_deletion(Done(255, "", "away\n")) == "away"


def test_the_end_of_the_allocation_is_that_of_its_limit_alone() -> None:
    assert end_of_allocation({}) is None and end_of_allocation({"LSB_JOBID": "7"}) is not None
    year = datetime.fromtimestamp(now_us() / 1e6).year
    assert read_end(Done(0, f"Feb  2 00:46 {year} L\n")) == us(year, 2, 2, 0, 46) / 1e6
    for text in (f"Feb  2 00:46 {year} E\n", f"Feb  2 00:46 {year}\n", "-\n", "Feb 31 00:46 L\n"):
        assert read_end(Done(0, text)) is None


@given(st.integers(0, len(LISTED)), st.integers(0, 60), st.text(max_size=10))
def test_a_garbled_listing_never_shows_one_that_runs_as_ended(at: int, cut: int, noise: str) -> None:
    """Kind: damage in an output is taken for news."""
    view = LSF.read_look([Done(0, LISTED[:at] + noise + LISTED[at + cut :])])
    assert not [one for one in view.allocations if one.state is A.ended and not noise]


@given(st.text(max_size=200))
def test_no_output_makes_a_reader_raise(text: str) -> None:
    for code in (0, 1, None):
        done = Done(code, text, text)
        LSF.read_submission(done)
        LSF.read_deletion(done)
        LSF.read_account([done])
        LSF.read_look([done])
        read_end(done)
