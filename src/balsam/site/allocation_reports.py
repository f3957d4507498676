"""What the server is told of allocations: the fields of its BatchJobs in which it is behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from balsam.core.allocation_causes import EndOf
from balsam.core.clock import UtcDatetime, from_us, naive_text, now_us, to_us
from balsam.core.states import BatchJobState
from balsam.platform.schedulers.allocation import Allocation, AllocationState
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.ledger import LedgerEntry, Step
from balsam.site.wire_text import storable

STATE_OF_ALLOCATION = {
    AllocationState.queued: BatchJobState.queued,
    AllocationState.running: BatchJobState.running,
    AllocationState.ending: BatchJobState.running,
    AllocationState.ended: BatchJobState.finished,
}
SAME_MOMENT_US = 1_000_000  # batch systems count in seconds
EXPECTED_AGAIN_US = 120_000_000  # an estimate that moved by less is not told again

# Keys of status_info that the agent keeps; null removes one.
WAITING = "waiting"  # why it is not submitted
REASON = "reason"  # why the batch system does not start it, in that one's words
NEVER = "never_starts"  # likewise, where it can't start before somebody changes something
EXPECTED = "expected_start"
REQUEUED = "requeued"
MISSING = "missing"  # the batch system does not list it any more
DELETION = "deletion"  # why it could not be ended
# What is over when it runs, or has ended.
PASSING = (WAITING, REASON, NEVER, EXPECTED, MISSING)

# Ends that a wish to delete it explains.
_BY_DELETION = (EndOf.deleted, EndOf.cancelled, "exit 0", EndOf.signal)


@dataclass(frozen=True)
class Report:
    """Tell the server; `changes` are fields of its PATCH. `entry`: what the ledger holds from then on."""

    batch_job_id: int
    changes: Mapping[str, Any]
    entry: LedgerEntry | None = None


def entry_of(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> LedgerEntry:
    """The ledger's entry of what the batch system has, whoever noted or did not note its submission."""
    known = entry or LedgerEntry(
        batch_job.id, batch_job.site_id, allocation.label, Step.submitted, allocation.submit_us or 0
    )
    return replace(
        known,
        step=Step.submitted,
        label=allocation.label or known.label,
        scheduler_id=allocation.scheduler_id,
        submit_us=allocation.submit_us or known.submit_us,
        sentence="",
    )


def progress(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> dict[str, Any]:
    """The fields in which the server's record is behind an allocation that has not ended."""
    changes = ids(batch_job, allocation.scheduler_id)
    state = STATE_OF_ALLOCATION.get(allocation.state)
    if is_requeued(batch_job, entry, allocation):
        # First of all it waits again, also where it runs again by now: what ran in it is over.
        state = BatchJobState.queued
        changes["requeued"] = naive_text(allocation.submit_us or now_us())
    elif time_differs(batch_job.start_time, allocation.start_us):
        changes["start_time"] = naive_text(allocation.start_us)
    # Only its end overtakes the user's wish to delete it.
    if state not in (None, batch_job.state) and batch_job.state is not BatchJobState.pending_deletion:
        changes["state"] = state
    notes = _notes(batch_job, entry, allocation)
    return {**changes, "notes": notes} if notes else changes


def is_requeued(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> bool:
    """Whether the batch system has put it back into the queue since it was last looked at."""
    before = entry.submit_us if entry else None
    again = before and allocation.submit_us and allocation.submit_us - before > SAME_MOMENT_US
    ran = batch_job.state is BatchJobState.running and allocation.state is AllocationState.queued
    return bool(again and batch_job.start_time) or ran


def _notes(
    batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation
) -> dict[str, str | None]:
    """Keys of status_info that are to change."""
    waits = allocation.state is AllocationState.queued
    reason = storable(allocation.reason) if waits and allocation.reason else None
    wanted: dict[str, str | None] = dict.fromkeys(PASSING)
    wanted[NEVER if allocation.never else REASON] = reason
    wanted[EXPECTED] = _expected(batch_job, allocation) if waits else None
    if is_requeued(batch_job, entry, allocation):
        wanted[REQUEUED] = _requeued(batch_job, entry, allocation)
    known = batch_job.status_info
    return {key: text for key, text in wanted.items() if known.get(key) != text}


def _expected(batch_job: BatchJobOut, allocation: Allocation) -> str | None:
    """When it may start; what was told before, where that is about the same."""
    if allocation.expected_start_us is None:
        return None
    told = batch_job.status_info.get(EXPECTED)
    near = told and _near(told, allocation.expected_start_us, EXPECTED_AGAIN_US)
    return told if near else naive_text(allocation.expected_start_us)


def _near(text: str, us: int, by: int) -> bool:
    try:
        return abs(to_us(UtcDatetime.parse(text)) - us) < by
    except ValueError:
        return False


def _requeued(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> str:
    times = (entry.requeues if entry else 0) + 1
    why = allocation.earlier[-1] if allocation.earlier else "the batch system tells no reason"
    ran = f", after it had run since {batch_job.start_time}" if batch_job.start_time else ""
    before = batch_job.status_info.get(REQUEUED)
    last = f"{times}. {why}{ran}"
    return storable(f"{before}; {last}" if before else last)


def ids(batch_job: BatchJobOut, scheduler_id: str) -> dict[str, Any]:
    """The scheduler's id, as text and, where it is one, as a number: 123 of `123.pbs01`, too."""
    if batch_job.scheduler_id_text == scheduler_id:
        return {}
    changes: dict[str, Any] = {"scheduler_id_text": scheduler_id}
    if (number := number_of(scheduler_id)) is not None:
        changes["scheduler_id"] = number
    return changes


def number_of(scheduler_id: str) -> int | None:
    number = scheduler_id.partition(".")[0]
    return int(number) if number.isascii() and number.isdecimal() else None


def time_differs(text: str | None, us: int | None) -> bool:
    return us is not None and (text is None or UtcDatetime.parse(text) != from_us(us))


def ended(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> Report:
    """The report of an end that the batch system tells."""
    changes = ids(batch_job, allocation.scheduler_id)
    if time_differs(batch_job.start_time, allocation.start_us):
        changes["start_time"] = naive_text(allocation.start_us)
    if time_differs(batch_job.end_time, allocation.end_us):
        changes["end_time"] = naive_text(allocation.end_us)
    cause = storable(cause_of_end(batch_job, entry, allocation))
    changes |= {"cause": cause, "state": BatchJobState.finished}
    if notes := {key: None for key in PASSING if key in batch_job.status_info}:
        changes["notes"] = notes
    closed = replace(
        entry_of(batch_job, entry, allocation),
        step=Step.ended,
        start_us=allocation.start_us,
        end_us=allocation.end_us,
        cause=cause,
    )
    return Report(batch_job.id, changes, closed)


def ended_before(batch_job: BatchJobOut, entry: LedgerEntry) -> Report:
    """The report of an end that the ledger holds, and that the server has not heard of."""
    allocation = Allocation(
        scheduler_id=entry.scheduler_id or "",
        label=entry.label,
        state=AllocationState.ended,
        start_us=entry.start_us,
        end_us=entry.end_us,
        cause=entry.cause,
    )
    report = ended(batch_job, entry, allocation)
    changes = {k: v for k, v in report.changes.items() if v != "" or k == "cause"}
    return Report(batch_job.id, changes, entry)


def cause_of_end(batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation) -> str:
    """Why it ended, in the words of the record."""
    cause = allocation.cause or EndOf.lost("the batch system tells no reason")
    if batch_job.state is not BatchJobState.pending_deletion:
        return cause
    asked = entry.deleted_us if entry else None
    after = asked and (allocation.end_us is None or allocation.end_us > asked - SAME_MOMENT_US)
    if cause == EndOf.deleted or (after and cause.startswith(_BY_DELETION)):
        return EndOf.deleted_by_user
    return cause


def never_submitted(batch_job: BatchJobOut) -> Report:
    """Of a BatchJob that was deleted before the batch system had it."""
    return Report(batch_job.id, {"state": BatchJobState.finished, "cause": EndOf.deleted_by_user})


def failed_submission(batch_job: BatchJobOut, sentence: str) -> dict[str, Any]:
    """The fields of a BatchJob that can't be submitted."""
    told = storable(sentence)
    info = {k: v for k, v in batch_job.status_info.items() if k not in PASSING}
    info |= {"error": told, "error_time": stamp()}
    return {"state": BatchJobState.submit_failed, "cause": EndOf.refused(told), "status_info": info}


def waits(batch_job: BatchJobOut, sentence: str, key: str = WAITING) -> Report | None:
    """Notes why nothing happens to it; None where that is noted already."""
    note = storable(sentence)
    return None if batch_job.status_info.get(key) == note else Report(batch_job.id, {"notes": {key: note}})


def stamp() -> str:
    """Now, as the published agent writes it."""
    return (naive_text(now_us()) or "").replace("T", " ")


def queue_of(
    batch_jobs: Mapping[int, BatchJobOut], allocations: Mapping[int, Allocation], now: int
) -> dict[str, dict[str, Any]]:
    """A site's `queued_jobs`: by scheduler id, what waits or runs there; minutes as they are now."""
    return {
        str(number_of(allocation.scheduler_id)): _in_queue(batch_jobs[i], allocation, now)
        for i, allocation in sorted(allocations.items())
        if i in batch_jobs
        and allocation.state not in (AllocationState.ended, AllocationState.unknown)
        and number_of(allocation.scheduler_id) is not None
    }


def _in_queue(batch_job: BatchJobOut, allocation: Allocation, now: int) -> dict[str, Any]:
    started = allocation.start_us
    since = started if started is not None else now
    waited = since - (_submitted(batch_job) or since)
    return {
        "scheduler_id": number_of(allocation.scheduler_id),
        "state": STATE_OF_ALLOCATION[allocation.state],
        **{name: getattr(batch_job, name) for name in ("queue", "num_nodes", "wall_time_min", "project")},
        "time_remaining_min": max(0, batch_job.wall_time_min - (now - since) // 60_000_000),
        "queued_time_min": max(0, waited // 60_000_000),
    }


def _submitted(batch_job: BatchJobOut) -> int | None:
    """When it was submitted, as `stamp` wrote it; None where somebody else has written there."""
    try:
        return to_us(UtcDatetime.parse(batch_job.status_info.get("submit_time", "").replace(" ", "T")))
    except ValueError:
        return None
