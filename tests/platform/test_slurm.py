"""Slurm's words and outputs. The outputs were printed by Slurm 22.05.8, with SLURM_TIME_FORMAT=%s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    Later,
    Submission,
    Submitted,
    Unsure,
)
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Done
from balsam.platform.schedulers.slurm import Slurm, end_of_allocation, read_end
from balsam.platform.schedulers.slurm_words import STATES, in_words, meaning_of

A = AllocationState
SLURM = Slurm()
SUBMISSION = Submission(
    "babc234-7", Path("/site/q 100%/s.sh"), Path("/site/q 100%/o"), Path("/site"), 90, 2, "batch", "acct1"
)
LISTING = """\
10|10|PENDING|BeginTime|1796056843|1796057143|1796053243|1||batch|balsam-8
13|13+0|PENDING|Resources|1796053247|1796053547|1796053243|2||batch|balsam-11
4|4|PENDING|PartitionNodeLimit|N/A|N/A|1796053243|9||batch|ok.sh
19|19|RUNNING|None|1796053244|NONE|1796053243|1|nid0003|batch|zero
7|7|COMPLETING|None|1796053243|1796053543|1796053243|1|nid0001|batch|babc234-6
33|32_0|RUNNING|None|1796053244|1796053544|1796053243|1|nid0003|batch,debug|name with | and spaces
32|32_[2-5%2]|PENDING|JobArrayTaskLimit|N/A|N/A|1796053243|1||batch|array
20|20|CANCELLED|None|1796053244|1796053261|1796053244|1|nid0003|batch|stub.sh
26|26|NODE_FAIL|NodeDown|1796053311|1796053342|1796053311|2|nid[0007-0008]|batch|babc234-9
5|5|PENDING|launch failed requeued held|N/A|N/A|1796053243|1||tiny|balsam-4
6|6|MELTING|None|N/A|N/A|1796053243|1||closed|balsam-5
"""
RECORDS = """\
1|COMPLETED|0:0|None|1796053243|1796053243|1796053244|nid[0001-0002]|balsam-1
2|FAILED|7:0|None|1796053243|1796053243|1796053243|nid[0001-0002]|balsam-2
3|PENDING|0:0|PartitionNodeLimit|1796053243|Unknown|Unknown|None assigned|balsam-3
7|CANCELLED by 0|0:0|None|1796053243|1796053243|1796053261|nid0001|balsam-6
9|CANCELLED by 4294967290|0:0|JobHeldUser|1796053243|None|1796053261|None assigned|balsam-7
23|REQUEUED|0:0|None|1796053287|1796053289|1796053301|nid[0001-0008]|lo
23|PREEMPTED|0:0|None|1796053301|1796053422|1796053441|nid[0003-0004]|lo
23|PENDING|0:0|BeginTime|1796053441|Unknown|Unknown|None assigned|lo
26|NODE_FAIL|0:0|None|1796053311|1796053311|1796053342|nid[0007-0008]|nf
28|TIMEOUT|0:0|None|1796053378|1796053378|1796053458|nid0001|long
41|COMPLETED|0:0|ReqNodeNotAvail|1796053569|1796053571|Unknown|nid0001|late
50|OUT_OF_MEMORY|0:125|None|1796053378|1796053378|1796053458|nid0001|big
51|FAILED|0:9|None|1796053378|1796053378|1796053458|nid0001|a|b
52|BOOT_FAIL|0:0|None|1796053378|1796053378|1796053458|nid0001|boot
"""
SEC = 1_000_000


def listed(text: str = LISTING, returncode: int | None = 0, stderr: str = "") -> dict[str, Allocation]:
    view = SLURM.read_look([Done(returncode, text, stderr)])
    return {one.scheduler_id: one for one in view.allocations}


def test_a_submission_is_asked_for_on_the_command_line_with_whole_nodes() -> None:
    words = SLURM.submit(SUBMISSION).words
    assert words[0] == "sbatch" and words[-1] == "/site/q 100%/s.sh"
    assert {
        *("--parsable", "--job-name=babc234-7", "--output=/site/q 100%%/o", "--chdir=/site", "--nodes=2"),
        *("--time=90", "--no-requeue", "--exclusive", "--partition=batch", "--account=acct1"),
    } <= set(words)


def test_a_machine_may_want_to_be_asked_otherwise() -> None:
    form = SubmitForm("--qos", "", ["--constraint=gpu"], "-N {num_nodes} --gpus-per-node=4", True)
    words = Slurm(form).submit(SUBMISSION).words
    assert {"--qos=batch", "--constraint=gpu", "-N", "2", "--gpus-per-node=4", "--requeue"} <= set(words)
    assert not any(word.startswith(("--account", "--exclusive", "--partition")) for word in words)


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (Done(0, "20\n"), Submitted("20")),
        (Done(0, "20;test\n"), Submitted("20")),
        (Done(0, "Welcome to the cluster\n20\n", "sbatch: lua: thank you\n"), Submitted("20")),
        (Done(None, "20\n", "sbatch did not answer within 75 s"), Submitted("20")),
        (Done(0, "2"), Unsure("2")),  # cut in its midst
        (Done(0), Unsure("it ended with exit code 0 and said nothing")),
        (Done(None, "", "sbatch did not answer within 75 s"), Unsure("sbatch did not answer within 75 s")),
        (Done(-9, "", ""), Unsure("it ended with exit code -9 and said nothing")),
        (
            Done(
                1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
            ),
            Unsure("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        ),
        (
            Done(1, "", "sbatch: error: Unable to contact slurm controller (connect failure)\n"),
            Later("sbatch: error: Unable to contact slurm controller (connect failure)"),
        ),
        (
            Done(1, "", "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Job violates\n"),
            Later("sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Job violates"),
        ),
        (
            Done(1, "", "sbatch: error: Batch job submission failed: Invalid qos specification\n"),
            Declined("sbatch: error: Batch job submission failed: Invalid qos specification"),
        ),
        (
            Done(1, "", "sbatch: error: This does not look like a batch script.  The first\n"),
            Declined("sbatch: error: This does not look like a batch script.  The first"),
        ),
    ],
)
def test_what_became_of_a_submission(done: Done, outcome: object) -> None:
    """Kind: an answer that was lost is taken for a refusal, or a limit that passes for one that stays."""
    assert SLURM.read_submission(done) == outcome


def test_a_listing_tells_states_reasons_nodes_and_times() -> None:
    found = listed()
    states = {number: one.state for number, one in found.items()}
    assert states == {
        **dict.fromkeys(("10", "13", "4", "32", "5"), A.queued),
        **dict.fromkeys(("19", "33"), A.running),
        "7": A.ending,
        "20": A.ended,
        "26": A.ended,
        "6": A.unknown,
    }
    waits, runs, over = found["10"], found["19"], found["26"]
    assert (waits.start_us, waits.expected_start_us) == (None, 1796056843 * SEC)
    assert (runs.start_us, runs.expected_start_us, runs.nodes) == (1796053244 * SEC, None, "nid0003")
    assert (over.end_us, over.cause) == (1796053342 * SEC, "node failure: nid[0007-0008]")
    assert found["33"].label == "name with | and spaces" and found["33"].queue == "batch,debug"
    assert [number for number, one in found.items() if one.never] == ["4", "5"]
    assert found["5"].reason.startswith("launch failed requeued held (it could not be started")


def test_a_listing_that_is_not_whole_says_so_and_what_can_be_read_of_it_is() -> None:
    """Kind: an answer that was cut is taken for a shorter one."""
    whole = SLURM.read_look([Done(0, LISTING)])
    assert whole.complete and not whole.trouble and not whole.unreadable
    assert SLURM.read_look([Done(0)]).complete
    for done in (
        Done(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"),
        Done(None, LISTING, "squeue did not answer within 75 s"),
        Done(0, LISTING[:-5]),
        Done(0, LISTING.replace("19|19|RUNNING", "19|19|RUN|NING")),
    ):
        view = SLURM.read_look([done])
        assert not view.complete and view.trouble
    torn = SLURM.read_look(
        [Done(0, LISTING.replace("|1796053243|1||batch|balsam-8", "|yesterday|1||batch|b"))]
    )
    assert len(torn.allocations) == 10 and torn.unreadable[0].startswith("10|10|PENDING")


def test_what_plug_ins_print_and_names_of_several_lines_are_no_allocations() -> None:
    view = SLURM.read_look([Done(0, f"squeue: welcome\n{LISTING}and the name goes on\n", "a warning\n")])
    assert view.complete and len(view.allocations) == 11


def test_accounting_tells_ends_and_causes_and_earlier_lives() -> None:
    lives, trouble, kept = SLURM.read_account([Done(0, RECORDS)])
    assert not trouble and kept
    causes = [(life.scheduler_id, life.state, life.cause) for life in lives]
    assert causes == [
        ("1", A.ended, "exit 0"),
        ("2", A.ended, "exit 7"),
        ("3", A.queued, None),
        ("7", A.ended, "cancelled outside of Balsam: by root"),
        ("9", A.ended, "cancelled outside of Balsam: by user 4294967290"),
        ("23", A.ended, "requeued"),
        ("23", A.ended, "preempted"),
        ("23", A.queued, None),
        ("26", A.ended, "node failure: nid[0007-0008]"),
        ("28", A.ended, "walltime"),
        ("41", A.ended, "exit 0"),
        ("50", A.ended, "out of memory"),
        ("51", A.ended, "killed by signal 9"),
        ("52", A.ended, "failed to start: BOOT_FAIL"),
    ]
    assert lives[10].end_us is None and lives[12].label == "a|b"


def test_accounting_that_is_away_or_not_there_tells_nothing() -> None:
    away = "sacct: error: Sending PersistInit msg: Connection refused\n"
    assert SLURM.read_account([Done(1, "", away)]) == (
        [],
        "sacct: error: Sending PersistInit msg: Connection refused",
        True,
    )
    assert SLURM.read_account([Done(1, "", "Slurm accounting storage is disabled\n")]) == ([], "", False)
    assert SLURM.read_account([Done(0)]) == ([], "", True)


def test_many_ids_are_asked_for_in_commands_that_the_system_takes() -> None:
    calls = SLURM.account([str(i) for i in range(450)])
    assert [call.words[-1].count(",") + 1 for call in calls] == [200, 200, 50]
    [call] = SLURM.search(["babc234-7", "babc234-8"], 1796053243 * SEC)
    assert "--name=babc234-7,babc234-8" in call.words
    assert call.words[-1].startswith("--starttime=2026-11-30T")


def test_deletion_is_polite_where_that_is_asked_for() -> None:
    one = Allocation("20", "babc234-7", A.running)
    assert SLURM.delete(one, True).words == ("scancel", "--batch", "--signal=TERM", "20")
    assert SLURM.delete(one, False).words == ("scancel", "20")
    away = "scancel: error: Kill job error on job id 41: Unable to contact slurm controller\n"
    assert "Unable to contact" in SLURM.read_deletion(Done(8, "", away))
    assert SLURM.read_deletion(Done(0)) == ""
    assert SLURM.read_deletion(Done(1, "", "scancel: error: Invalid job id specified\n")) == ""


def test_the_end_of_the_allocation_is_in_the_environment_or_asked_for() -> None:
    assert end_of_allocation({"SLURM_JOB_END_TIME": "1796053243", "SLURM_JOB_ID": "7"}) == 1796053243.0
    assert end_of_allocation({}) is None
    call = end_of_allocation({"SLURM_JOB_ID": "7"})
    assert not isinstance(call, float | None) and call.words[2:] == ("--jobs=7", "--format=%e")
    assert read_end(Done(0, "1796053243\n")) == 1796053243.0
    assert read_end(Done(0, "NONE\n")) is read_end(Done(1)) is read_end(Done(None, "1796053243\n")) is None


def test_every_word_has_one_meaning() -> None:
    assert meaning_of("CANCELLED by 1000") == meaning_of("CANCELLED+") == STATES["CANCELLED"]
    assert meaning_of("") == meaning_of("X") and meaning_of("X").state is A.unknown
    assert in_words("None") == "" and in_words("Nice") == "Nice"
    assert in_words("ReqNodeNotAvail, UnavailableNodes:nid1").startswith("ReqNodeNotAvail, Unav")


@given(st.integers(0, len(LISTING)), st.integers(0, 40), st.text(max_size=10))
def test_a_garbled_listing_never_shows_a_running_allocation_as_ended(at: int, cut: int, noise: str) -> None:
    """Kind: damage in an output is taken for news."""
    before = listed()
    view = SLURM.read_look([Done(0, LISTING[:at] + noise + LISTING[at + cut :])])
    for one in view.allocations:
        known = before.get(one.scheduler_id)
        if known is not None and known.state is A.running and one.state is A.ended:
            # Only words that Slurm has for it say so.
            assert noise and one.cause
    whole = SLURM.read_look([Done(None, LISTING[:at], "killed")])
    assert not whole.complete


@given(st.text(max_size=200))
def test_no_output_makes_a_reader_raise(text: str) -> None:
    for code in (0, 1, None):
        done = Done(code, text, text)
        SLURM.read_submission(done)
        SLURM.read_deletion(done)
        assert all(life.scheduler_id.isdecimal() for life in SLURM.read_account([done])[0])
        assert replace(SLURM.read_look([done]), taken_at=1).taken_at == 1
        read_end(done)
