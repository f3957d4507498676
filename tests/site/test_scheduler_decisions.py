"""What the agent decides about BatchJobs, as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balsam.core.states import BatchJobState, JobMode
from balsam.platform.schedulers.allocation import Allocation, AllocationState
from balsam.runtime.settings import QueueSettings, SchedulerSettings
from balsam.schemas.batch_jobs import BatchJobOut, BatchJobPartition
from balsam.schemas.sites import SchedulerJobStatus
from balsam.site.scheduler import (
    DELETE_AGAIN_SEC,
    VOUCH_SEC,
    Action,
    Delete,
    Memory,
    Report,
    Submit,
    decide,
    orphans,
    queue_of,
)
from balsam.site.submission import batch_job_id_of, label_of, refusal

S = BatchJobState
QUEUE = QueueSettings(max_nodes=4, max_walltime=60, max_queued_jobs=2)
LIMITS = SchedulerSettings(
    allowed_queues={"q": QUEUE}, allowed_projects=["p"], optional_batch_job_params={"shout": "no"}
)
RUNNING = Allocation("3", label_of(7), AllocationState.running, start_us=1_000_000)


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


def one(*batch_jobs: BatchJobOut, allocation: Allocation | None = None, **memory: dict[int, float]) -> Action:
    allocations = {7: allocation} if allocation else {}
    (action,) = decide(batch_jobs, allocations, LIMITS, Memory(**memory), now=1000.0)
    return action


def test_a_new_batch_job_is_submitted() -> None:
    assert one(batch_job()) == Submit(batch_job())


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
    action = one(refused)
    assert isinstance(action, Report) and action.changes["state"] is S.submit_failed
    info = action.changes["status_info"]
    assert info["error"] == sentence and " " in info["error_time"]


def test_a_full_queue_keeps_batch_jobs_waiting_and_says_so_once() -> None:
    three = [batch_job(i) for i in (1, 2, 3)]
    first, second, third = decide(three, {}, LIMITS, Memory(), now=0.0)
    assert [first, second] == [Submit(three[0]), Submit(three[1])]
    assert isinstance(third, Report) and "state" not in third.changes
    waiting = batch_job(3, status_info=third.changes["status_info"])
    assert decide([*three[:2], waiting], {}, LIMITS, Memory(), now=0.0) == [first, second]


def test_progress_is_reported_with_ids_and_times() -> None:
    action = one(batch_job(state=S.queued), allocation=RUNNING)
    assert action == Report(
        7,
        {
            "scheduler_id_text": "3",
            "scheduler_id": 3,
            "start_time": "1970-01-01T00:00:01",
            "state": S.running,
        },
    )


def test_ids_that_are_no_numbers_travel_as_text() -> None:
    action = one(batch_job(state=S.queued), allocation=replace(RUNNING, scheduler_id="3.theta"))
    assert isinstance(action, Report)
    assert action.changes["scheduler_id_text"] == "3.theta" and "scheduler_id" not in action.changes


@pytest.mark.parametrize(
    ("state", "cause", "told"),
    [
        (S.running, "exit 1", "exit 1"),
        (S.running, "walltime", "walltime"),
        (S.running, "deleted", "deleted"),
        (S.pending_deletion, "deleted", "deleted by user"),
        (S.pending_deletion, "exit 0", "exit 0"),
    ],
)
def test_an_end_is_reported_with_its_cause(state: S, cause: str, told: str) -> None:
    ended = replace(RUNNING, state=AllocationState.finished, end_us=2_000_000, cause=cause)
    action = one(seen(state), allocation=ended)
    assert action == Report(7, {"end_time": "1970-01-01T00:00:02", "cause": told, "state": S.finished})


def test_a_running_allocation_is_vouched_for_from_time_to_time() -> None:
    now = 1000.0
    assert one(seen(), allocation=RUNNING) == Report(7, {"state": S.running})
    memory = Memory(vouched={7: now - VOUCH_SEC + 1})
    assert decide([seen()], {7: RUNNING}, LIMITS, memory, now) == []


def test_a_submission_whose_submitter_died_is_handed_over_again_while_it_waits() -> None:
    waiting = replace(RUNNING, state=AllocationState.queued, start_us=None)
    assert one(batch_job(), allocation=waiting) == Submit(batch_job())
    action = one(batch_job(), allocation=RUNNING)
    assert isinstance(action, Report) and action.changes["state"] is S.running


def test_deletion_is_asked_for_and_asked_again_only_after_a_while() -> None:
    wished = seen(S.pending_deletion)
    assert one(wished, allocation=RUNNING) == Delete(7, "3")
    recently, long_ago = Memory(deleted={7: 999.0}), Memory(deleted={7: 999.0 - DELETE_AGAIN_SEC})
    assert decide([wished], {7: RUNNING}, LIMITS, recently, 1000.0) == []
    assert decide([wished], {7: RUNNING}, LIMITS, long_ago, 1000.0) == [Delete(7, "3")]


def test_the_wish_to_delete_is_not_overwritten_by_progress() -> None:
    action = one(batch_job(state=S.pending_deletion), allocation=RUNNING)
    assert isinstance(action, Report) and "state" not in action.changes


def test_a_batch_job_deleted_before_submission_is_over() -> None:
    action = one(batch_job(state=S.pending_deletion))
    assert action == Report(7, {"state": S.finished, "cause": "deleted by user"})


def test_an_allocation_that_the_batch_system_does_not_know_is_over() -> None:
    action = one(seen())
    assert isinstance(action, Report)
    assert action.changes["state"] is S.finished and action.changes["cause"].startswith("lost")
    assert action.changes["end_time"]


def test_an_allocation_without_an_active_batch_job_is_ended() -> None:
    assert orphans({8}, {7: RUNNING}, Memory(), 0.0) == [Delete(7, "3")]
    assert orphans({7}, {7: RUNNING}, Memory(), 0.0) == []


@pytest.mark.parametrize(
    ("label", "number"), [("balsam-12", 12), ("12", None), ("balsam-x", None), ("", None)]
)
def test_labels_name_batch_jobs(label: str, number: int | None) -> None:
    assert batch_job_id_of(label) == number


def test_the_sites_queue_is_what_waits_and_runs_there() -> None:
    """As release 0.7 tells it in Site.queued_jobs."""
    minute = 60_000_000
    stamp = {"submit_time": "1970-01-01 00:01:00"}
    known = {7: seen(status_info=stamp), 8: seen(status_info=stamp), 9: batch_job(9)}
    allocations = {
        7: Allocation("3", label_of(7), AllocationState.running, start_us=3 * minute),
        8: Allocation("4", label_of(8), AllocationState.queued),
        9: Allocation("5", label_of(9), AllocationState.finished),
        10: Allocation("6", label_of(10), AllocationState.running, start_us=1),
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
