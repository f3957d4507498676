"""Flux's words and outputs. The outputs were printed by Flux 0.88, in an order of fields of our own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform.schedulers.allocation import Allocation, AllocationState, Declined, Submitted, Unsure
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Done
from balsam.platform.schedulers.flux import Flux, end_of_allocation, parse_id, read_end
from tests.platform.submissions import SUBMISSION

A = AllocationState
FLUX = Flux()
LISTED = """\
303365619712|SCHED|||1796052653.301639|0.0|0.0|4|||16|||{"sched": {"t_estimate": 1796052944.9396248}}|b8|
250265731072|SCHED|||1796052650.1369278|0.0|0.0|1|||0||||balsam-7|
353898594304|DEPEND|||1796052656.3134353|0.0|0.0|1|||16||begin@16:30:56||balsam-9|
162638331904|RUN|||1796052644.9133806|1796052644.9466717|0.0|1|vm|q|16|||{"sched": {}}|n 5|
99|CLEANUP|||1796052644.9133806|1796052644.9466717|1796052645.0|1|vm||16||||c|
"""
ENDED = """\
61605937152|INACTIVE|COMPLETED|0|1796052638.8912055|1796052638.9200182|1796052660.9464357|2|vm,vm||16||||balsam-1|
198591905792|INACTIVE|TIMEOUT|129|1796052647.056517|1796052657.3246517|1796052659.3283644|1|vm||16|timeout|||b|gone
70967623680|INACTIVE|FAILED|7|1796052639.4492986|1796052639.4770315|1796052657.300983|1|vm||16||||balsam-2|
94707384320|INACTIVE|FAILED|1|1796052640.8660052|0.0|1796052640.9412286|9|||16|alloc|||b|need 9 | 4
303365619712|INACTIVE|CANCELED|-128|1796052653.301639|0.0|1796052666.5|4|||16|cancel|||balsam-8|
7|INACTIVE|FAILED|1|1796052640.8660052|1796052640.9|1796052640.9412286|9|||16|exec|||b|a node is away
"""


def test_a_submission_is_asked_for_with_whole_nodes() -> None:
    assert FLUX.submit(SUBMISSION).words == (
        *("flux", "batch", "--job-name=babc234-7", "--output=/site/q 100%/o", "--cwd=/site", "--nodes=2"),
        *("--time-limit=90m", "--exclusive", "--queue=batch", "--bank=acct1", "/site/q 100%/s.sh"),
    )
    form = SubmitForm("", "", [], "-N{num_nodes} -g4")
    assert {"-N2", "-g4"} <= set(Flux(form).submit(SUBMISSION).words)


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (Done(0, "ƒ2cruXoD\n"), Submitted("61605937152")),
        (Done(0, "f8yCP6eB\n"), Submitted("303365619712")),
        (Done(None, "ƒ4fr\n", "flux did not answer within 75 s"), Submitted("12345")),
        (Done(0, "ƒ2cruX"), Unsure("ƒ2cruX")),  # cut in its midst
        (Done(0), Unsure("it ended with exit code 0 and said nothing")),
        (
            Done(1, "", "flux-batch: ERROR: 'nosuch' is not a valid queue\n"),
            Declined("flux-batch: ERROR: 'nosuch' is not a valid queue"),
        ),
        (
            Done(1, "", "flux-batch: ERROR: No such file or directory: '/nosuch.sh'\n"),
            Declined("flux-batch: ERROR: No such file or directory: '/nosuch.sh'"),
        ),
        (Done(1, "", "flux-batch: ERROR: something else\n"), Unsure("flux-batch: ERROR: something else")),
    ],
)
def test_what_became_of_a_submission(done: Done, outcome: object) -> None:
    """Kind: an id in letters, or 64 bits wide, is lost or changed."""
    assert FLUX.read_submission(done) == outcome


def test_ids_are_numbers_of_64_bits() -> None:
    """Kind: an id in letters is not the one that listings show."""
    letters = {"ƒ2cruXoD": 61605937152, "ƒ3VHy6oZ": 94707384320, "ƒ6DZtRkj": 198591905792}
    assert {parse_id(f"{text}\n"): text for text in letters} == {str(n): text for text, n in letters.items()}
    assert parse_id("ƒ0O\n") == parse_id("ƒ\n") == parse_id("fzzzzzzzzzzzzzzzz\n") == ""


def test_a_listing_tells_states_reasons_and_times() -> None:
    view = FLUX.read_look([Done(0, LISTED)])
    assert view.complete
    eta, held, later, runs, over = view.allocations
    assert [one.state for one in view.allocations] == [*[A.queued] * 3, A.running, A.ending]
    assert eta.expected_start_us == 1796052944_939624 and eta.start_us is None
    assert held.never and "held" in held.reason and not later.never
    assert later.reason == "it waits for begin@16:30:56"
    assert (runs.nodes, runs.start_us, runs.label) == ("vm", 1796052644_946671, "n 5")
    assert over.label == "c"


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "flux-jobs: ERROR: Unable to connect to Flux\n"),
        Done(None, LISTED, "flux did not answer within 75 s"),
        Done(0, LISTED[:-3]),
        Done(0, LISTED.replace("|RUN|", "|", 1)),
        Done(0, "".join(LISTED.replace("99|CLEANUP", f"{i}|RUN") for i in range(250))),
    ],
)
def test_a_listing_that_is_not_whole_says_so(done: Done) -> None:
    """Kind: a list that is cut, by a limit of its own, too, is taken for all."""
    view = FLUX.read_look([done])
    assert not view.complete and view.trouble


def test_ends_have_causes_and_ids_that_are_gone_are_no_failure() -> None:
    lives, trouble, kept = FLUX.read_account([Done(0, ENDED, "JobID 99999 unknown\n")])
    assert (trouble, kept) == ("", True)
    assert [life.cause for life in lives] == [
        "exit 0",
        "walltime",
        "exit 7",
        "failed to start: need 9 | 4",
        "cancelled outside of Balsam",
        "exit: exec: a node is away",
    ]
    assert lives[3].start_us is None and lives[3].end_us == 1796052640_941228
    assert FLUX.read_account([Done(1, "", "away\n")])[1] == "away"


def test_deletion_of_what_is_gone_is_done() -> None:
    assert FLUX.delete(Allocation("12345", "b", A.running), True).words == ("flux", "cancel", "12345")
    for told in ("flux-cancel: ERROR: ƒ4fr: unknown job id\n", "flux-cancel: ERROR: ƒ8: job is inactive\n"):
        assert FLUX.read_deletion(Done(1, "", told)) == ""
    assert FLUX.read_deletion(Done(1, "", "away\n")) == "away"


def test_the_end_of_the_allocation_counts_from_now() -> None:
    assert end_of_allocation({}) is None and end_of_allocation({"FLUX_ENCLOSING_ID": "ƒ2"}) is not None
    end = read_end(Done(0, "290\n"))
    assert end is not None and abs(end - time.time() - 290) < 60
    assert read_end(Done(0, "4294967295\n")) is read_end(Done(1, "290\n")) is read_end(Done(0, "x")) is None


@given(st.integers(0, len(LISTED)), st.integers(0, 60), st.text(max_size=10))
def test_a_garbled_listing_never_shows_one_that_runs_as_ended(at: int, cut: int, noise: str) -> None:
    """Kind: damage in an output is taken for news."""
    view = FLUX.read_look([Done(0, LISTED[:at] + noise + LISTED[at + cut :])])
    assert not [one for one in view.allocations if one.state is A.ended and not noise]


@given(st.text(max_size=200))
def test_no_output_makes_a_reader_raise(text: str) -> None:
    for code in (0, 1, None):
        done = Done(code, text, text)
        FLUX.read_submission(done)
        FLUX.read_deletion(done)
        FLUX.read_account([done])
        FLUX.read_look([done])
        read_end(done)
