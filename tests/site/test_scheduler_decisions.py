"""What the agent decides about BatchJobs, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balsam.core.states import BatchJobState, JobMode
from balsam.platform.schedulers.allocation import Allocation, AllocationState, QueueView, Records
from balsam.runtime.settings import QueueSettings, SchedulerSettings
from balsam.schemas.batch_jobs import BatchJobOut, BatchJobPartition
from balsam.schemas.sites import SchedulerJobStatus
from balsam.site.allocation_reports import Report, queue_of
from balsam.site.labels import Labels, new_token, site_token
from balsam.site.ledger import Ledger, LedgerEntry, Step
from balsam.site.queue_decisions import (
    DELETE_AGAIN_SEC,
    LOST_LOOKS,
    LOST_SEC,
    POLITE_SEC,
    UNASKED_SEC,
    VOUCH_SEC,
    Action,
    Delete,
    Submit,
    decide,
    orphans,
    pause_sec,
)
from balsam.site.queue_scene import RECORD_TRIES, Absence, Memory, Scene, observe, to_account, to_search
from balsam.site.submission import refusal

S = BatchJobState
A = AllocationState
LABELS = Labels("abc234")
QUEUE = QueueSettings(max_nodes=4, max_walltime=60, max_queued_jobs=2)
LIMITS = SchedulerSettings(
    allowed_queues={"q": QUEUE}, allowed_projects=["p"], optional_batch_job_params={"shout": "no"}
)
SEC = 1_000_000
NOW_US = 1_000 * SEC
RUNNING = Allocation("3", LABELS.of(7), A.running, start_us=SEC, submit_us=SEC)
WAITING = replace(RUNNING, state=A.queued, start_us=None)
BEGUN = LedgerEntry(7, 1, LABELS.of(7), Step.intended, begun_us=NOW_US - 500 * SEC)
SUBMITTED = replace(BEGUN, step=Step.submitted, scheduler_id="3", submit_us=SEC)


def batch_job(batch_job_id: int = 7, state: S = S.pending_submission, **values: Any) -> BatchJobOut:
    known = {
        "id": batch_job_id,
        "site_id": 1,
        "num_nodes": 1,
        "wall_time_min": 10,
        "job_mode": JobMode.serial,
        "project": "p",
        "queue": "q",
        "state": state,
        "scheduler_id": None,
        "status_info": {},
        "start_time": None,
        "end_time": None,
    }
    return BatchJobOut.model_validate({**known, **values})


def seen(state: S = S.running, **values: Any) -> BatchJobOut:
    """The server knows all that RUNNING says."""
    known = {"scheduler_id": 3, "scheduler_id_text": "3", "start_time": "1970-01-01T00:00:01"}
    return batch_job(state=state, **{**known, **values})


def scene(
    batch_jobs: Sequence[BatchJobOut], *listed: Allocation, entry: LedgerEntry | None = None, **known: Any
) -> Scene:
    """What is known after a complete look of just now."""
    usual: dict[str, Any] = {
        "batch_jobs": list(batch_jobs),
        "entries": {entry.batch_job_id: entry} if entry else {},
        "labels": LABELS,
        "view": QueueView(listed, taken_at=NOW_US),
        "now_us": NOW_US,
        "certain_us": 120 * SEC,
    }
    return Scene(**{**usual, **known})


def acts(known: Scene, memory: Memory | None = None, now: float = 1000.0) -> list[Action]:
    return decide(known, LIMITS, memory or Memory(), now)


def told(known: Scene, memory: Memory | None = None, now: float = 1000.0) -> Report:
    (action,) = acts(known, memory, now)
    assert isinstance(action, Report)
    return action


def test_a_new_batch_job_is_submitted_after_a_complete_look_alone() -> None:
    """Kind: what could not be seen is taken for what is not there."""
    new = batch_job()
    assert acts(scene([new])) == [Submit(new)]
    assert acts(scene([new], view=None)) == []
    assert acts(scene([new], view=QueueView(complete=False, trouble="away"))) == []
    assert acts(scene([new], fresh=False)) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"queue": "z"}, "this site has no queue 'z'; it has q"),
        ({"project": "z"}, "this site has no project 'z'; it has p"),
        ({"num_nodes": 5}, "5 nodes are more than queue q takes: 4"),
        ({"wall_time_min": 61}, "61 minutes are more than queue q takes: 60"),
        ({"optional_params": {"a": "b"}}, "this site has no optional parameter a; it has shout"),
        (
            {"num_nodes": 3, "partitions": [BatchJobPartition(job_mode=JobMode.mpi, num_nodes=2)]},
            "the partitions have 2 nodes together, and num_nodes is 3",
        ),
    ],
)
def test_what_the_site_can_not_submit_fails_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    refused = batch_job(**values)
    assert refusal(refused, LIMITS) == sentence
    changes = told(scene([refused])).changes
    assert (changes["state"], changes["cause"]) == (S.submit_failed, f"refused: {sentence}")
    info = changes["status_info"]
    assert info["error"] == sentence and " " in info["error_time"]


def test_a_full_queue_keeps_batch_jobs_waiting_and_says_so_once() -> None:
    three = [batch_job(i) for i in (1, 2, 3)]
    first, second, third = acts(scene(three))
    assert [first, second] == [Submit(three[0]), Submit(three[1])]
    assert isinstance(third, Report) and "state" not in third.changes
    waiting = batch_job(3, status_info=third.changes["notes"])
    assert acts(scene([*three[:2], waiting])) == [first, second]


def test_a_queue_is_filled_by_the_users_other_allocations_too() -> None:
    others = [Allocation(str(i), "mine", A.queued, queue="q") for i in (1, 2)]
    assert "takes 2 allocations" in told(scene([batch_job()], *others)).changes["notes"]["waiting"]
    over = [replace(one, state=A.ended) for one in others]
    assert acts(scene([batch_job()], *over)) == [Submit(batch_job())]


def test_progress_is_reported_with_ids_and_times() -> None:
    report = told(scene([batch_job(state=S.queued)], RUNNING, entry=SUBMITTED))
    assert report.changes == {
        "scheduler_id_text": "3",
        "scheduler_id": 3,
        "start_time": "1970-01-01T00:00:01",
        "state": S.running,
    }


def test_ids_that_are_no_numbers_travel_as_text() -> None:
    """Kind: an id is taken for a number, or cut to be one."""
    for strange, number in (("3.pbs01", 3), ("14[].pbs1", None), ("f2cru", None)):
        listed = replace(RUNNING, scheduler_id=strange)
        changes = told(scene([batch_job(state=S.queued)], listed)).changes
        assert changes["scheduler_id_text"] == strange and changes.get("scheduler_id") == number


def test_why_it_waits_is_told_in_the_schedulers_words_and_taken_back_when_it_runs() -> None:
    waits = replace(WAITING, reason="Priority", expected_start_us=2_000 * SEC)
    changes = told(scene([seen(S.queued, start_time=None)], waits, entry=SUBMITTED)).changes
    assert changes == {"notes": {"reason": "Priority", "expected_start": "1970-01-01T00:33:20"}}
    known = seen(S.queued, start_time=None, status_info=changes["notes"])
    moved = replace(waits, expected_start_us=2_060 * SEC)
    assert acts(scene([known], moved, entry=SUBMITTED)) == []
    never = replace(waits, never=True, expected_start_us=None)
    notes = told(scene([known], never, entry=SUBMITTED)).changes["notes"]
    assert notes == {"reason": None, "never_starts": "Priority", "expected_start": None}
    assert told(scene([known], RUNNING, entry=SUBMITTED)).changes["notes"] == {
        "reason": None,
        "expected_start": None,
    }


@pytest.mark.parametrize(
    ("state", "asked", "cause", "told_cause"),
    [
        (S.running, None, "exit 1", "exit 1"),
        (S.running, None, "walltime", "walltime"),
        (S.running, None, "deleted", "deleted"),
        (S.running, None, "cancelled outside of Balsam: by root", "cancelled outside of Balsam: by root"),
        (S.pending_deletion, None, "deleted", "deleted by user"),
        (S.pending_deletion, None, "exit 0", "exit 0"),
        (S.pending_deletion, 1 * SEC, "exit 0", "deleted by user"),
        (S.pending_deletion, 1 * SEC, "cancelled outside of Balsam: by me", "deleted by user"),
        (
            S.pending_deletion,
            9 * SEC,
            "cancelled outside of Balsam: by me",
            "cancelled outside of Balsam: by me",
        ),
        (S.pending_deletion, 1 * SEC, "node failure: nid1", "node failure: nid1"),
    ],
)
def test_an_end_is_reported_with_its_cause(state: S, asked: int | None, cause: str, told_cause: str) -> None:
    over = replace(RUNNING, state=A.ended, end_us=2 * SEC, cause=cause)
    entry = replace(SUBMITTED, deleted_us=asked)
    records = Records({"3": over})
    for known in (
        scene([seen(state)], over, entry=entry, records=records),
        scene([seen(state)], entry=entry, records=records, asked=frozenset("3")),
    ):
        memory = Memory(absent={7: Absence(999.0, NOW_US)})
        report = told(known, memory)
        assert report.changes == {
            "end_time": "1970-01-01T00:00:02",
            "cause": told_cause,
            "state": S.finished,
        }
        assert report.entry is not None and report.entry.step is Step.ended


def test_what_the_queue_shows_as_over_waits_for_accounting_and_not_for_ever() -> None:
    over = replace(RUNNING, state=A.ended, end_us=2 * SEC, cause="exit: with an error")
    known = scene([seen()], over, entry=SUBMITTED)
    memory = Memory()
    assert to_account(known, memory, 1000.0) == {"3": LABELS.of(7)}
    assert acts(known, memory) == []
    behind = replace(known, records=Records({"3": RUNNING}))
    assert acts(behind, memory) == []
    memory.recorded[7] = (RECORD_TRIES, 1000.0)
    assert told(behind, memory).changes["cause"] == "exit: with an error"
    without = replace(known, records=Records(kept=False))
    assert told(without).changes["cause"] == "exit: with an error"


def test_a_running_allocation_is_vouched_for_from_time_to_time_and_only_when_it_is_seen() -> None:
    now = 1000.0
    known = scene([seen()], RUNNING, entry=SUBMITTED)
    assert told(known, now=now).changes == {"state": S.running}
    assert acts(known, Memory(vouched={7: now - VOUCH_SEC + 1}), now) == []
    assert acts(replace(known, fresh=False), now=now) == []
    ending = replace(RUNNING, state=A.ending)
    assert acts(scene([seen()], ending, entry=SUBMITTED), now=now) == []


def test_words_that_nobody_knows_change_nothing() -> None:
    strange = replace(RUNNING, state=A.unknown)
    for state in (S.queued, S.running):
        assert acts(scene([seen(state)], strange, entry=SUBMITTED)) == []


def test_deletion_is_asked_for_politely_then_plainly_and_not_too_often() -> None:
    wished = seen(S.pending_deletion)
    known = scene([wished], RUNNING, entry=SUBMITTED)
    assert acts(known) == [Delete(7, RUNNING, politely=True)]
    assert acts(known, Memory(deleted={7: (999.0, 999.0)})) == []
    again = 1000.0 - DELETE_AGAIN_SEC
    assert acts(known, Memory(deleted={7: (again, again)})) == [Delete(7, RUNNING, politely=True)]
    assert acts(known, Memory(deleted={7: (1000.0 - POLITE_SEC, again)})) == [Delete(7, RUNNING)]
    # Nobody is there yet who could be asked politely.
    assert acts(scene([wished], WAITING, entry=SUBMITTED)) == [Delete(7, WAITING)]
    assert acts(scene([wished], replace(RUNNING, state=A.ending), entry=SUBMITTED)) == []


def test_the_wish_to_delete_is_not_overwritten_by_progress() -> None:
    known = scene([batch_job(state=S.pending_deletion)], RUNNING)
    assert "state" not in told(known).changes


def test_a_batch_job_deleted_before_submission_is_over() -> None:
    assert told(scene([batch_job(state=S.pending_deletion)])).changes == {
        "state": S.finished,
        "cause": "deleted by user",
    }


def missing(known: Scene, looks: int = LOST_LOOKS, sec: float = LOST_SEC) -> list[Action]:
    """What is decided after so many complete looks without it, over so many seconds."""
    memory = Memory(absent={7: Absence(1000.0 - sec, NOW_US - int(sec) * SEC, looks)})
    return acts(known, memory)


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        (Records(), "lost: the queue has not listed it for 5 min, and accounting does not know it"),
        (Records({"3": RUNNING}), "lost: the queue has not listed it for 5 min, and accounting says that it"),
        (Records(kept=False), "ended: the batch system keeps no record of how"),
    ],
)
def test_what_nobody_knows_any_more_is_lost_after_a_while_and_some_looks(
    records: Records, cause: str
) -> None:
    """Kind: "not known" is taken for "finished"."""
    known = scene([seen()], entry=SUBMITTED, records=records, asked=frozenset("3"))
    for looks, sec in ((LOST_LOOKS - 1, LOST_SEC), (LOST_LOOKS, LOST_SEC - 1)):
        for action in missing(known, looks, sec):
            assert isinstance(action, Report) and action.changes.keys() == {"notes"}
    (report,) = missing(known)
    assert isinstance(report, Report) and report.changes["state"] is S.finished
    assert report.changes["cause"].startswith(cause) and report.changes["end_time"]


def is_over(action: Action) -> bool:
    return isinstance(action, Report) and action.changes.get("state") is S.finished


def test_what_was_deleted_while_it_waited_is_in_no_record_and_over_after_some_looks() -> None:
    """Kind: what accounting never tells is waited for (Grid Engine's knows only what has run)."""
    waited = seen(S.pending_deletion, start_time=None)
    asked = replace(SUBMITTED, deleted_us=NOW_US - SEC)
    known = scene([waited], entry=asked, asked=frozenset("3"))
    (report,) = missing(known, LOST_LOOKS, 10.0)
    assert isinstance(report, Report) and report.changes["cause"] == "deleted by user"
    for other in (
        scene([waited], entry=SUBMITTED, asked=frozenset("3")),  # nobody has asked for its end
        scene([seen(S.pending_deletion)], entry=asked, asked=frozenset("3")),  # it ran
        scene([waited], entry=asked, records=Records(trouble="away"), asked=frozenset("3")),
    ):
        assert not any(is_over(action) for action in missing(other, LOST_LOOKS, 10.0))
    assert not any(is_over(action) for action in missing(known, LOST_LOOKS - 1, 10.0))


def test_accounting_that_can_not_be_asked_ends_nothing_for_an_hour() -> None:
    silent = Records(trouble="Connection refused")
    known = scene([seen()], entry=SUBMITTED, records=silent, asked=frozenset("3"))
    (note,) = missing(known, 60, UNASKED_SEC - 1)
    assert isinstance(note, Report) and "Connection refused" in note.changes["notes"]["missing"]
    (report,) = missing(known, 60, UNASKED_SEC)
    assert isinstance(report, Report) and report.changes["cause"].startswith("lost: ")


def test_accounting_has_its_say_before_anything_is_lost() -> None:
    assert missing(scene([seen()], entry=SUBMITTED)) == []


def test_an_end_without_a_time_gets_the_one_at_which_it_was_missed() -> None:
    over = replace(RUNNING, state=A.ended, cause="exit 0")
    known = scene([seen()], entry=SUBMITTED, records=Records({"3": over}), asked=frozenset("3"))
    assert missing(known, 1, 1.0) == []
    (report,) = missing(known, LOST_LOOKS, 60.0)
    assert isinstance(report, Report) and report.changes["end_time"] == "1970-01-01T00:15:40"


def test_absence_is_counted_in_complete_looks_that_are_newer_than_the_submission() -> None:
    memory = Memory()
    known = scene([seen()], entry=SUBMITTED)
    for blind in (
        replace(known, view=QueueView(complete=False, taken_at=NOW_US)),
        replace(known, view=QueueView(taken_at=SUBMITTED.begun_us - 1)),
        replace(known, view=None),
    ):
        observe(blind, memory, 1000.0)
        assert not memory.absent
    observe(known, memory, 1000.0)
    observe(known, memory, 1030.0)
    assert memory.absent == {7: Absence(1000.0, NOW_US, 2)}
    observe(scene([seen()], RUNNING, entry=SUBMITTED), memory, 1060.0)
    assert not memory.absent


def test_an_unanswered_submission_is_looked_for_before_it_is_made_again() -> None:
    """Kind: a call whose answer was lost is repeated as if it had not been made."""
    new = batch_job()
    for step in (Step.intended, Step.unsure):
        entry = replace(BEGUN, step=step)
        known = scene([new], entry=entry)
        assert "looked for by its name, babc234-7" in told(known).changes["notes"]["waiting"]
        memory = Memory()
        assert to_search(known, memory, 1000.0) == {LABELS.of(7): entry.begun_us}
        assert to_search(known, memory, 1001.0) == {}
        young = replace(entry, begun_us=NOW_US - 119 * SEC)
        assert to_search(scene([new], entry=young), Memory(), 1000.0) == {}
        assert acts(replace(known, answered=frozenset([LABELS.of(7)]))) == [Submit(new, entry)]
        assert told(scene([new], WAITING, entry=entry)).changes["scheduler_id_text"] == "3"
        over = replace(RUNNING, state=A.ended, end_us=2 * SEC, cause="exit 0")
        assert told(replace(known, found=Records({"3": over}))).changes["cause"] == "exit 0"


def test_what_could_not_be_submitted_is_tried_again_after_a_growing_pause() -> None:
    for attempts in (1, 3):
        entry = replace(BEGUN, step=Step.later, sentence="queue full", attempts=attempts)
        due = replace(entry, begun_us=NOW_US - pause_sec(attempts) * SEC)
        early = replace(due, begun_us=due.begun_us + SEC)
        assert "queue full" in told(scene([batch_job()], entry=early)).changes["notes"]["waiting"]
        assert acts(scene([batch_job()], entry=due)) == [Submit(batch_job(), due)]
    assert [pause_sec(n) for n in (1, 2, 3, 4, 5, 50)] == [30, 60, 120, 300, 600, 600]


def test_an_end_that_the_server_has_not_heard_of_is_told_again() -> None:
    entry = replace(SUBMITTED, step=Step.ended, start_us=SEC, end_us=2 * SEC, cause="exit 0")
    for state in (S.pending_submission, S.running):
        changes = told(scene([batch_job(state=state)], entry=entry)).changes
        assert (changes["state"], changes["cause"]) == (S.finished, "exit 0")


def test_an_allocation_that_was_put_back_is_the_same_batch_job_in_the_queue() -> None:
    again = replace(WAITING, submit_us=500 * SEC, reason="BeginTime")
    record = replace(again, earlier=("preempted",))
    known = scene([seen()], again, entry=SUBMITTED)
    memory = Memory()
    assert to_account(known, memory, 1000.0) == {"3": LABELS.of(7)}
    assert acts(known, memory) == []  # accounting is behind
    report = told(replace(known, records=Records({"3": record})), memory)
    assert report.changes["state"] is S.queued and report.changes["requeued"] == "1970-01-01T00:08:20"
    assert report.changes["notes"]["requeued"] == "1. preempted, after it had run since 1970-01-01T00:00:01"
    assert report.entry is not None and (report.entry.requeues, report.entry.submit_us) == (1, 500 * SEC)
    # It may run again by the time somebody looks.
    back = replace(record, state=A.running, start_us=510 * SEC)
    report = told(scene([seen()], back, entry=SUBMITTED, records=Records({"3": back})), memory)
    assert report.changes["state"] is S.queued and "start_time" not in report.changes


def test_another_allocation_under_the_same_label_is_ended() -> None:
    twin = replace(RUNNING, scheduler_id="4", submit_us=5 * SEC)
    memory = Memory(vouched={7: 1000.0})
    assert acts(scene([seen()], twin, RUNNING, entry=SUBMITTED), memory) == [Delete(7, twin)]
    assert acts(scene([seen()], replace(twin, state=A.ended), RUNNING, entry=SUBMITTED), memory) == []


def test_an_allocation_without_an_active_batch_job_is_ended_after_a_newer_list() -> None:
    memory = Memory()
    known = scene([batch_job(8)], RUNNING)
    assert orphans(known, memory, fetched=999.0, now=1000.0) == []
    assert orphans(known, memory, fetched=1001.0, now=1002.0) == [Delete(7, RUNNING, politely=True)]
    assert orphans(scene([seen()], RUNNING), memory, fetched=1001.0, now=1002.0) == []
    assert not memory.homeless


def test_other_sites_allocations_are_never_touched() -> None:
    """Kind: what is somebody else's is taken for one's own by a name that is not unique."""
    others = [
        replace(RUNNING, label=label)
        for label in (Labels("xyz234").of(7), "balsam-7", "babc234-", "babc234-7x", "7", "")
    ]
    memory = Memory()
    assert acts(scene([], *others)) == []
    assert orphans(scene([], *others), memory, 999.0, 1000.0) == []
    assert orphans(scene([], *others), memory, 2000.0, 2001.0) == []


def test_a_sites_token_is_made_once_and_stays(tmp_path: Any) -> None:
    token = site_token(tmp_path)
    assert site_token(tmp_path) == token and token != new_token()
    label = Labels(token).of(123_456)
    assert len(label) <= 15 and label[0].isalpha() and Labels(token).batch_job_id(label) == 123_456
    assert Labels(token, older=True).batch_job_id("balsam-12") == 12


def test_the_ledger_outlives_the_agent_and_a_torn_file_counts_as_unanswered(tmp_path: Any) -> None:
    Ledger(tmp_path / "ledger", 1).put(SUBMITTED)
    assert Ledger(tmp_path / "ledger", 1).of([7, 8]) == {7: SUBMITTED}
    assert Ledger(tmp_path / "ledger", 2).of([7]) == {}  # another site was given the folder
    full = Ledger(Path("/dev/null/ledger"), 1)
    with pytest.raises(OSError):
        full.put(SUBMITTED)
    full.note(SUBMITTED)
    assert full.of([7]) == {7: SUBMITTED}
    (tmp_path / "ledger" / "7.json").write_text('{"batch_job')
    assert Ledger(tmp_path / "ledger", 1).of([7])[7].step is Step.intended


def test_the_sites_queue_is_what_waits_and_runs_there() -> None:
    """As release 0.7 tells it in Site.queued_jobs."""
    minute = 60_000_000
    stamp = {"submit_time": "1970-01-01 00:01:00"}
    known = {7: seen(status_info=stamp), 8: seen(status_info=stamp), 9: batch_job(9)}
    allocations = {
        7: Allocation("3", LABELS.of(7), A.running, start_us=3 * minute),
        8: Allocation("4", LABELS.of(8), A.queued),
        9: Allocation("5", LABELS.of(9), A.ended),
        10: Allocation("6", LABELS.of(10), A.running, start_us=1),
    }
    queue = queue_of(known, allocations, 8 * minute)
    assert list(queue) == ["3", "4"]
    assert SchedulerJobStatus.model_validate(queue["3"]) == SchedulerJobStatus(
        scheduler_id=3,
        state=S.running,
        queue="q",
        num_nodes=1,
        wall_time_min=10,
        project="p",
        time_remaining_min=5,
        queued_time_min=2,
    )
    assert (queue["4"]["state"], queue["4"]["queued_time_min"]) == (S.queued, 7)
    assert queue["4"]["time_remaining_min"] == 10
