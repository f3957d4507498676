"""What is to be done about a site's BatchJobs: a pure function of what is known, and of the clock.

A complete listing of the batch system is believed first, then accounting, then nothing for a while; only then
is an allocation lost. A listing or an answer that could not be had, or read, ends nothing and starts nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from balsam.core.allocation_causes import EndOf
from balsam.core.states import BatchJobState
from balsam.platform.schedulers.allocation import Allocation, AllocationState
from balsam.runtime.settings import SchedulerSettings
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.allocation_reports import (
    MISSING,
    Report,
    ended,
    ended_before,
    entry_of,
    failed_submission,
    ids,
    is_requeued,
    never_submitted,
    progress,
    waits,
)
from balsam.site.ledger import UNCERTAIN, LedgerEntry, Step
from balsam.site.queue_scene import RECORD_TRIES, Memory, Scene, is_out, known_id, label_of
from balsam.site.submission import refusal

VOUCH_SEC = 20.0  # how often the server is told that an allocation still runs
DELETE_AGAIN_SEC = 15.0
POLITE_SEC = 60.0  # after the first, polite request for its end an allocation is ended as it comes
LOST_SEC = 300.0  # for so long, and so many looks, an allocation may be nowhere before it is lost
LOST_LOOKS = 3
UNASKED_SEC = 3_600.0  # likewise while accounting can't be asked
LATER_SEC = (30, 60, 120, 300, 600)  # between attempts at a submission


@dataclass(frozen=True)
class Submit:
    """Hand this BatchJob to the batch system."""

    batch_job: BatchJobOut
    entry: LedgerEntry | None = None


@dataclass(frozen=True)
class Delete:
    """End this allocation; `politely`: its script is asked to."""

    batch_job_id: int
    allocation: Allocation
    politely: bool = False


Action = Submit | Report | Delete


def decide(scene: Scene, limits: SchedulerSettings, memory: Memory, now: float) -> list[Action]:
    """What is to be done about the active BatchJobs."""
    in_queue = _in_queues(scene)
    actions: list[Action] = []
    for batch_job in sorted(scene.batch_jobs, key=lambda one: one.id):
        entry, allocation = scene.entries.get(batch_job.id), scene.allocation(batch_job.id)
        action: Action | None
        if allocation is not None:
            action = _follow(scene, batch_job, entry, allocation, memory, now)
            actions += _twins(scene, batch_job.id, allocation, memory, now)
        elif entry is not None and entry.step is Step.ended:
            action = ended_before(batch_job, entry)
        elif entry is not None and entry.step in UNCERTAIN:
            action = _uncertain(scene, batch_job, entry)
        elif is_out(batch_job, entry):
            action = _missing(scene, batch_job, entry, memory, now)
        elif batch_job.state is BatchJobState.pending_deletion:
            action = never_submitted(batch_job)
        else:
            action = _begin(scene, batch_job, entry, limits, in_queue[batch_job.queue])
            in_queue[batch_job.queue] += isinstance(action, Submit)
        actions += [action] if action else []
    return actions


def orphans(scene: Scene, memory: Memory, fetched: float, now: float) -> list[Delete]:
    """Ends allocations whose BatchJobs are gone or over: nobody waits for them any more.

    `fetched`: when the list of BatchJobs was asked for. What came into being after that is in no list.
    """
    known = {batch_job.id for batch_job in scene.batch_jobs}
    going = {i: a for i in scene.own.keys() - known if (a := scene.allocation(i)) and _goes_on(a)}
    for gone in memory.homeless.keys() - going.keys():
        del memory.homeless[gone]
    for batch_job_id in going:
        memory.homeless.setdefault(batch_job_id, now)
    sure = sorted(i for i in going if memory.homeless[i] < fetched)
    return [delete for i in sure if (delete := _delete(i, going[i], memory, now))]


def _goes_on(allocation: Allocation) -> bool:
    return allocation.state not in (AllocationState.ended, AllocationState.ending)


def _in_queues(scene: Scene) -> Counter[str]:
    """How many allocations the user has in each queue: this site's by their BatchJobs, others as listed."""
    out = [one for one in scene.batch_jobs if is_out(one, scene.entries.get(one.id)) or one.id in scene.own]
    listed = scene.view.allocations if scene.view else ()
    others = [a for a in listed if scene.labels.batch_job_id(a.label) is None and _goes_on(a)]
    return Counter([*(one.queue for one in out), *(other.queue for other in others)])


def _begin(
    scene: Scene,
    batch_job: BatchJobOut,
    entry: LedgerEntry | None,
    limits: SchedulerSettings,
    in_queue: int,
) -> Action | None:
    """Of one that the batch system does not have."""
    if batch_job.state is not BatchJobState.pending_submission:
        return None
    sentence = refusal(batch_job, limits)
    if sentence:
        return Report(batch_job.id, failed_submission(batch_job, sentence))
    if not scene.fresh or not scene.looked_since(entry):
        return None  # what there is already is not known
    if entry is not None and scene.now_us < entry.begun_us + pause_sec(entry.attempts) * 1_000_000:
        return waits(batch_job, tried_again(entry.sentence, entry.attempts))
    most = limits.allowed_queues[batch_job.queue].max_queued_jobs
    if in_queue < most:
        return Submit(batch_job, entry)
    return waits(batch_job, f"queue {batch_job.queue} takes {most} allocations at once, and has them")


def pause_sec(attempts: int) -> int:
    """Until the next attempt at a submission, after so many."""
    return LATER_SEC[min(attempts, len(LATER_SEC)) - 1]


def tried_again(sentence: str, attempts: int) -> str:
    return (
        f"the batch system did not take it ({sentence}); it is asked again {pause_sec(attempts)} s after the "
        f"{attempts}. attempt"
    )


def _uncertain(scene: Scene, batch_job: BatchJobOut, entry: LedgerEntry) -> Action | None:
    """Of one whose submission was begun, and that is not listed."""
    label = label_of(scene, batch_job, entry, None)
    found = [one for one in scene.found.allocations.values() if one.label == label]
    if found:
        return _recorded(batch_job, entry, found[-1])
    age_us = scene.now_us - entry.begun_us
    unheard = age_us > max(UNASKED_SEC * 1e6, scene.certain_us) and scene.looked_since(entry)
    if label in scene.answered or unheard:
        if batch_job.state is BatchJobState.pending_deletion:
            return never_submitted(batch_job)
        return Submit(batch_job, entry)
    return waits(
        batch_job,
        "its submission was begun and not answered"
        f"{f' ({entry.sentence})' if entry.sentence else ''}: it is looked for by its name, {label}, and "
        "submitted again only when the batch system does not know it",
    )


def _recorded(batch_job: BatchJobOut, entry: LedgerEntry, allocation: Allocation) -> Report:
    """Found by its name in accounting alone."""
    if allocation.state is AllocationState.ended:
        return ended(batch_job, entry, allocation)
    return Report(
        batch_job.id, ids(batch_job, allocation.scheduler_id), entry_of(batch_job, entry, allocation)
    )


def _follow(
    scene: Scene,
    batch_job: BatchJobOut,
    entry: LedgerEntry | None,
    allocation: Allocation,
    memory: Memory,
    now: float,
) -> Action | None:
    """Of one that is listed."""
    record = scene.records.allocations.get(allocation.scheduler_id)
    if allocation.state is AllocationState.ended:
        return _over(scene, batch_job, entry, allocation, record, memory)
    wished = batch_job.state is BatchJobState.pending_deletion
    if wished and entry is not None and (delete := _delete(batch_job.id, allocation, memory, now)):
        return delete
    noted = entry_of(batch_job, entry, allocation)
    if is_requeued(batch_job, entry, allocation):
        earlier = record.earlier if record else ()
        times, _ = memory.recorded.get(batch_job.id, (0, 0.0))
        if not earlier and scene.records.kept and times < RECORD_TRIES:
            return None  # accounting has yet to hear why
        allocation = replace(allocation, earlier=earlier)
        noted = replace(noted, requeues=noted.requeues + 1)
    changes = progress(batch_job, entry, allocation)
    if changes or noted != entry:
        return Report(batch_job.id, changes, noted)
    vouched = now - memory.vouched.get(batch_job.id, -VOUCH_SEC) < VOUCH_SEC
    if scene.fresh and allocation.state is AllocationState.running and not (vouched or wished):
        return Report(batch_job.id, {"state": BatchJobState.running})
    return None


def _over(
    scene: Scene,
    batch_job: BatchJobOut,
    entry: LedgerEntry | None,
    allocation: Allocation,
    record: Allocation | None,
    memory: Memory,
) -> Action | None:
    """Of one that the queue shows as over; accounting tells more of its end, some seconds later."""
    if record is not None and record.state is AllocationState.ended and record.end_us is not None:
        start = record.start_us or allocation.start_us
        return ended(batch_job, entry, replace(record, start_us=start))
    times, _ = memory.recorded.get(batch_job.id, (0, 0.0))
    if times >= RECORD_TRIES or not scene.records.kept:
        return ended(batch_job, entry, replace(allocation, end_us=allocation.end_us or scene.now_us))
    return None


def _missing(
    scene: Scene, batch_job: BatchJobOut, entry: LedgerEntry | None, memory: Memory, now: float
) -> Action | None:
    """Of one that complete listings do not show any more, or not yet."""
    absence = memory.absent.get(batch_job.id)
    scheduler_id = known_id(batch_job, entry)
    if absence is None:
        return None
    if entry is not None and batch_job.state is BatchJobState.pending_submission and scheduler_id:
        return Report(batch_job.id, {**ids(batch_job, scheduler_id), "state": BatchJobState.queued})
    if scheduler_id is not None and scheduler_id not in scene.asked:
        return None  # accounting has its say first
    record = scene.records.allocations.get(scheduler_id or "")
    if record is not None and record.state is AllocationState.ended:
        if record.end_us is None and absence.looks < LOST_LOOKS:
            return None  # accounting has yet to hear of its end
        return ended(batch_job, entry, replace(record, end_us=record.end_us or absence.since_us))
    age = now - absence.since
    unbegun = _was_deleted_before_it_began(batch_job, entry) and record is None and not scene.records.trouble
    if (age >= LOST_SEC or unbegun) and absence.looks >= LOST_LOOKS:
        cause = EndOf.deleted.value if unbegun else lost_cause(scene, record)
        if not scene.records.trouble or age >= UNASKED_SEC:
            gone = Allocation(
                scheduler_id or "",
                label_of(scene, batch_job, entry, None),
                AllocationState.ended,
                end_us=absence.since_us if batch_job.start_time else None,
                cause=cause,
            )
            return _without_empty_id(ended(batch_job, entry, gone))
    if absence.looks < 2:
        return None
    return waits(batch_job, missing_note(scene, record), MISSING)


def _was_deleted_before_it_began(batch_job: BatchJobOut, entry: LedgerEntry | None) -> bool:
    """Some batch systems keep no record of such."""
    wished = batch_job.state is BatchJobState.pending_deletion
    return wished and entry is not None and entry.deleted_us is not None and batch_job.start_time is None


def _without_empty_id(report: Report) -> Report:
    changes = {k: v for k, v in report.changes.items() if (k, v) != ("scheduler_id_text", "")}
    return Report(report.batch_job_id, changes, report.entry)


def lost_cause(scene: Scene, record: Allocation | None) -> str:
    if not scene.records.kept:
        return EndOf.unrecorded("the batch system keeps no record of how")
    if scene.records.trouble:
        told = f"can't be asked: {scene.records.trouble}"
        return EndOf.lost(f"the queue has not listed it for {UNASKED_SEC / 60:g} min, and accounting {told}")
    told = f"says that it is {record.state}" if record else "does not know it"
    return EndOf.lost(f"the queue has not listed it for {LOST_SEC / 60:g} min, and accounting {told}")


def missing_note(scene: Scene, record: Allocation | None) -> str:
    if scene.records.trouble:
        told = f"accounting can't be asked ({scene.records.trouble})"
    else:
        told = f"accounting says that it is {record.state}" if record else "accounting does not tell of it"
    return f"the queue does not list it any more, and {told}: it counts as lost after {LOST_SEC / 60:g} min"


def _twins(scene: Scene, batch_job_id: int, chosen: Allocation, memory: Memory, now: float) -> list[Action]:
    """Ends what else there is under the label of a BatchJob: one allocation is enough."""
    others = [one for one in scene.own[batch_job_id] if one is not chosen and _goes_on(one)]
    _, last = memory.deleted.get(batch_job_id, (now, now - DELETE_AGAIN_SEC))
    due = now - last >= DELETE_AGAIN_SEC and _goes_on(chosen)
    return [Delete(batch_job_id, one) for one in others] if due else []


def _delete(batch_job_id: int, allocation: Allocation, memory: Memory, now: float) -> Delete | None:
    first, last = memory.deleted.get(batch_job_id, (now, now - DELETE_AGAIN_SEC))
    if not _goes_on(allocation) or now - last < DELETE_AGAIN_SEC:
        return None
    runs = allocation.state is not AllocationState.queued
    return Delete(batch_job_id, allocation, politely=runs and now - first < POLITE_SEC)
