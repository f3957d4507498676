"""The words and outputs of PBS. The outputs were printed by OpenPBS 23.06.06."""

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
    QueueView,
    Submitted,
    Unsure,
)
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Done
from balsam.platform.schedulers.pbs import Pbs, end_of_allocation, read_end
from tests.platform.pbs_text import ENDED_WITH_7, shown
from tests.platform.submissions import SUBMISSION

A = AllocationState
PBS = Pbs()
STARTED = "Mon Nov 30 15:23:32 2026"
STARTED_US = int(datetime(2026, 11, 30, 15, 23, 32).timestamp()) * 1_000_000
RAN = {"stime": STARTED, "exec_host": "n1/0*4+n2/0*4", "run_count": "1"}
LISTED = "".join(
    [
        ENDED_WITH_7,
        shown("4.pbs1", "babc234-4", "Q", comment="Not Running: Queue not started."),
        shown("8.pbs1", "babc234-8", "R", **RAN),
        shown("11.pbs1", "babc234-11", "Q", comment="Not Running: Not enough free nodes available"),
        shown("16.pbs1", "a name | that is much longer than fifteen", "H", Hold_Types="u"),
        shown("17.pbs1", "babc234-17", "W", Execution_Time="Mon Nov 30 23:59:00 2026"),
        shown("18.pbs1", "babc234-18", "H", Hold_Types="s", depend="afterok:1.pbs1@pbs1"),
        shown("19.pbs1", "babc234-19", "Q", comment="Can Never Run: Insufficient amount of resource: host"),
        shown("20.pbs1", "babc234-20", "Z"),
    ]
)
IDS = "".join(f"{number}.pbs1\n" for number in (1, 4, 8, 11, 16, 17, 18, 19, 20)) + "14[].pbs1\n"


def look(listing: Done, *details: Done) -> QueueView:
    return PBS.read_look([listing, *details])


def test_a_submission_is_asked_for_with_whole_nodes_and_a_shell() -> None:
    words = PBS.submit(SUBMISSION).words
    assert words == (
        *("qsub", "-N", "babc234-7", "-j", "oe", "-k", "oed", "-o", "/site/q 100%/o", "-S", "/bin/bash"),
        *("-l", "select=2", "-l", "walltime=1:30:00", "-r", "n", "-l", "place=scatter:excl"),
        *("-q", "batch", "-A", "acct1", "/site/q 100%/s.sh"),
    )
    form = SubmitForm("", "-P", ["-l", "filesystems=home"], "-l select={num_nodes}:ncpus=4", True)
    words = Pbs(form).submit(SUBMISSION).words
    assert {"select=2:ncpus=4", "y", "-P", "filesystems=home"} <= set(words)
    assert not {"-q", "-A", "place=scatter:excl"} & set(words)


@pytest.mark.parametrize(
    ("done", "kind"),
    [
        (Done(0, "10.pbs1\n"), Submitted("10.pbs1")),
        (Done(0, "Welcome\n14[].pbs1\n"), Submitted("14[].pbs1")),
        (Done(None, "10.pbs1\n", "qsub did not answer within 75 s"), Submitted("10.pbs1")),
        (Done(0, "10.pb"), Unsure),  # cut in its midst
        (Done(0), Unsure),
        (Done(None, "", "qsub did not answer within 75 s"), Unsure),
        (Done(-9), Unsure),
        (Done(38, "", "qsub: would exceed queue generic's per-user limit\n"), Later),
        (Done(162, "", "Connection refused\nqsub: cannot connect to server pbs1 (errno=15010)\n"), Later),
        (Done(170, "", "qsub: Unknown queue\n"), Declined),
        (Done(173, "", "qsub: Queue is not enabled\n"), Declined),
        (Done(188, "", "qsub: Job violates queue and/or server resource limits\n"), Declined),
        (Done(159, "", "qsub: Unauthorized Request\n"), Declined),
        (Done(2, "", "qsub: illegal -N value\nusage: qsub [-a date_time]\n"), Declined),
        (Done(1, "", "qsub: script file:: No such file or directory\n"), Declined),
    ],
)
def test_what_became_of_a_submission(done: Done, kind: object) -> None:
    """Kind: an answer that was lost is taken for a refusal, or a limit that passes for one that stays."""
    outcome = PBS.read_submission(done)
    assert outcome == kind or type(outcome) is kind


def test_a_listing_is_asked_for_by_user_and_described_by_id_without_arrays() -> None:
    """Kind: one command with an array among its ids, or in a form that cuts ids, loses others."""
    assert [call.words for call in PBS.look("me")] == [("qselect", "-u", "me")]
    [call] = PBS.details([Done(0, "0.pbs1\n14[].pbs1\n14[1].pbs1\n7.a-long.server.name\n8.pb")], False)
    assert call.words == ("qstat", "-f", "0.pbs1", "7.a-long.server.name")
    assert PBS.details([Done(0)], False) == []
    many = [Done(0, "".join(f"{i}.pbs1\n" for i in range(250)))]
    assert [len(call.words) - 2 for call in PBS.details(many, True)] == [100, 100, 50]
    assert [call.words for call in PBS.search(["a", "b"], 0)] == [
        ("qselect", "-x", "-N", "a"),
        ("qselect", "-x", "-N", "b"),
    ]


def test_a_listing_tells_states_reasons_nodes_and_times() -> None:
    view = look(Done(0, IDS), Done(0, LISTED))
    found = {one.scheduler_id.partition(".")[0]: one for one in view.allocations}
    assert view.complete and not view.unreadable
    assert {number: one.state for number, one in found.items()} == {
        **dict.fromkeys(("4", "11", "16", "17", "18", "19"), A.queued),
        "1": A.ending,
        "8": A.running,
        "20": A.unknown,
    }
    assert [number for number, one in found.items() if one.never] == ["4", "16", "19"]
    assert found["4"].reason == (
        "Queue not started. (its queue starts nothing until an administrator says so)"
    )
    assert found["16"].reason == "its owner holds it: `qrls ID` lets it go"
    assert found["16"].label == "a name | that is much longer than fifteen"
    assert found["18"].reason == "it waits for others: afterok:1.pbs1@pbs1"
    assert (found["8"].nodes, found["8"].start_us) == ("n1,n2", STARTED_US)
    assert (found["1"].label, found["1"].num_nodes, found["1"].nodes) == ("balsam-2", 1, "n1")


def test_one_that_ended_between_two_commands_is_gone_and_others_are_told() -> None:
    """Kind: a code of failure for one id ends the look at all."""
    listing, known = Done(0, "8.pbs1\n9.pbs1\n10.pbs1\n"), shown("8.pbs1", "babc234-8", "R", **RAN)
    told = "qstat: Unknown Job Id 9.pbs1\nqstat: 10.pbs1 Job has finished, use -x or -H to obtain it\n"
    for code in (153, 35):
        view = look(listing, Done(code, known, told))
        assert view.complete and [one.scheduler_id for one in view.allocations] == ["8.pbs1"]


@pytest.mark.parametrize(
    "answers",
    [
        [Done(162, "", "Connection refused\nqselect: cannot connect to server pbs1 (errno=15010)\n")],
        [Done(None, "8.pbs1\n", "qselect did not answer within 75 s"), Done(0, shown("8.pbs1", "b", "R"))],
        [Done(0, "8.pbs1\n9.pb"), Done(0, shown("8.pbs1", "b", "R"))],
        [Done(0, "8.pbs1\n"), Done(255, "", "qstat: cannot connect to server pbs1 (errno=15010)\n")],
        [Done(0, "8.pbs1\n"), Done(0, shown("8.pbs1", "b", "R")[:-4])],
        [Done(0, "8.pbs1\n9.pbs1\n"), Done(0, shown("8.pbs1", "b", "R"))],
        [Done(0, "8.pbs1\n"), Done(153, shown("8.pbs1", "b", "R"), "qstat: End of File\n")],
    ],
)
def test_a_listing_that_is_not_whole_says_so(answers: list[Done]) -> None:
    view = PBS.read_look(answers)
    assert not view.complete and view.trouble


def test_variables_of_a_user_change_nothing() -> None:
    """Kind: values of somebody's environment are read as what the batch system says."""
    function = "FN=() {\n    job_state = F\n    Exit_status = 3\n\n}"
    text = ENDED_WITH_7.replace("PBS_O_SYSTEM=Linux", function)
    [one] = look(Done(0, "1.pbs1\n"), Done(0, text)).allocations
    assert one.state is A.ending and one.label == "balsam-2"


HISTORY = [
    (shown("1", "a", "F", Exit_status="0", **RAN), "exit 0"),
    (shown("1", "a", "F", Exit_status="7", **RAN), "exit 7"),
    (shown("1", "a", "F", Exit_status="271", **RAN), "killed by signal 15"),
    (shown("1", "a", "F", Exit_status="-29", **RAN), "walltime"),
    (shown("1", "a", "F", Exit_status="-20", substate="93", **RAN), "node failure: n1,n2"),
    (shown("1", "a", "F", Exit_status="-2", **RAN), "exit: PBS tells Exit_status -2"),
    (
        shown("1", "a", "F", comment="Job run at Mon and terminated by root@pbs1", Exit_status="0", **RAN),
        "cancelled outside of Balsam: by root@pbs1",
    ),
    (
        shown("1", "a", "F", substate="91", comment="Not Running: Not enough free nodes and terminated"),
        "cancelled outside of Balsam",
    ),
]


@pytest.mark.parametrize(("text", "cause"), HISTORY)
def test_history_tells_causes(text: str, cause: str) -> None:
    [life], trouble, kept = PBS.read_account([Done(0, text)])
    assert (life.state, life.cause, trouble, kept) == (A.ended, cause, "", True)


def test_history_tells_when_it_ended_and_what_does_not_know_an_id_tells_nothing() -> None:
    text = shown("26.pbs1", "a", "F", history_timestamp="1796052340", Exit_status="-20", **RAN)
    [life], _, _ = PBS.read_account([Done(153, text, "qstat: Unknown Job Id 99999.pbs1\n")])
    assert life.end_us == 1796052340_000_000
    assert PBS.read_account([Done(153, "", "qstat: Unknown Job Id 10.pbs1\n")]) == ([], "", True)
    away = Done(255, "", "Connection refused\nqstat: cannot connect to server pbs1 (errno=15010)\n")
    assert "cannot connect" in PBS.read_account([away])[1]
    off = Done(1, "", "qstat: PBS is not configured to maintain job history\n")
    assert PBS.read_account([off]) == ([], "", False)


def test_one_that_was_put_back_tells_how_its_life_before_ended() -> None:
    again = shown("27.pbs1", "a", "Q", Exit_status="-20", run_count="2", exec_host="n2/1")
    lives, _, _ = PBS.read_account([Done(0, again)])
    assert [(life.state, life.cause) for life in lives] == [
        (A.ended, "node failure: n2"),
        (A.queued, None),
    ]
    runs = shown("27.pbs1", "a", "R", **{**RAN, "run_count": "2"})
    assert [life.cause for life in PBS.read_account([Done(0, runs)])[0]] == ["requeued", None]


def test_deletion_is_one_id_at_a_time_and_one_that_is_gone_is_deleted() -> None:
    one = Allocation("20.pbs1", "babc234-7", A.running)
    assert PBS.delete(one, True).words == ("qsig", "-s", "SIGTERM", "20.pbs1")
    assert PBS.delete(one, False).words == ("qdel", "20.pbs1")
    for told in ("qdel: Unknown Job Id 99.pbs1\n", "qdel: Request invalid for state of job 1.pbs1\n"):
        assert PBS.read_deletion(Done(153, "", told)) == ""
    away = "Connection refused\nCouldn't connect to cluster: pbs1\n"
    assert "Couldn't connect" in PBS.read_deletion(Done(162, "", away))


def test_the_end_of_the_allocation_is_its_start_and_its_wall_time() -> None:
    call = end_of_allocation({"PBS_JOBID": "8.pbs1"})
    assert not isinstance(call, float | None) and call.words == ("qstat", "-f", "8.pbs1")
    assert end_of_allocation({}) is None
    runs = shown("8.pbs1", "a", "R", **RAN, **{"Resource_List.walltime": "01:30:00"})
    assert read_end(Done(0, runs)) == STARTED_US / 1e6 + 5400
    assert read_end(Done(0, shown("8.pbs1", "a", "R", **RAN))) is None
    assert read_end(Done(255)) is read_end(Done(None, runs)) is None


@given(st.integers(0, len(LISTED)), st.integers(0, 60), st.text(max_size=10))
def test_a_garbled_listing_never_shows_one_that_runs_as_ended(at: int, cut: int, noise: str) -> None:
    """Kind: damage in an output is taken for news."""
    text = LISTED[:at] + noise + LISTED[at + cut :]
    for one in look(Done(0, IDS), Done(0, text)).allocations:
        if one.scheduler_id == "8.pbs1" and one.state is A.ended:
            assert noise


@given(st.text(max_size=200))
def test_no_output_makes_a_reader_raise(text: str) -> None:
    for code in (0, 1, 153, None):
        done = Done(code, text, text)
        PBS.read_submission(done)
        PBS.read_deletion(done)
        PBS.read_account([done])
        PBS.details([done], True)
        look(done, done)
        read_end(done)
