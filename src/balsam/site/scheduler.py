"""Brings a site's BatchJobs and its batch system together: submits, watches, reports, deletes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.client.errors import AuthError, ServerRefused
from balsam.client.jobs import refusals
from balsam.client.transport import Client
from balsam.core.clock import UtcDatetime, from_us, naive_text, now_us, to_us
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState
from balsam.platform.schedulers.allocation import Allocation, AllocationState, Scheduler, SchedulerError
from balsam.platform.template import TemplateError
from balsam.runtime import logs
from balsam.runtime.children import NODE_SHORT
from balsam.runtime.settings import SchedulerSettings
from balsam.runtime.site_folder import SiteFolder
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.services import OUTAGES, Bell, Outage, Stop, all_records
from balsam.site.submission import Paths, batch_job_id_of, label_of, refusal, submission_of, write_script
from balsam.site.wire_text import storable

log = logging.getLogger(__name__)

VOUCH_SEC = 20.0  # how often the server is told that an allocation still runs
DELETE_AGAIN_SEC = 15.0
SHORT_SEC = 5.0  # before the next submission where this machine or a filesystem fails
REPORT_AGAIN_SEC = 60.0  # after the server refused a report
EXPECTED_CAUSES = ("exit 0", "walltime", "deleted")
TAIL_LINES = 10
CLAIM_SEC = 10.0  # how long a claim of a BatchJob may take; shorter than the lease of the site
COMPLAINT = "scheduler"  # in status_info: why the batch system can't be asked

STATE_OF_ALLOCATION = {
    AllocationState.queued: BatchJobState.queued,
    AllocationState.running: BatchJobState.running,
    AllocationState.finished: BatchJobState.finished,
}


@dataclass(frozen=True)
class Submit:
    """Hand this BatchJob to the batch system."""

    batch_job: BatchJobOut


@dataclass(frozen=True)
class Report:
    """Tell the server; `changes` are fields of its PATCH."""

    batch_job_id: int
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Delete:
    """End this allocation."""

    batch_job_id: int
    scheduler_id: str


Action = Submit | Report | Delete


@dataclass
class Memory:
    """What was asked of whom when, by BatchJob id, in seconds of the monotonic clock."""

    vouched: dict[int, float] = field(default_factory=dict)
    deleted: dict[int, float] = field(default_factory=dict)
    refused: dict[int, float] = field(default_factory=dict)
    unclaimed: dict[int, float] = field(default_factory=dict)  # when the server may be asked for it again

    def forget_all_but(self, batch_job_ids: Collection[int]) -> None:
        for times in (self.vouched, self.deleted, self.refused, self.unclaimed):
            for gone in times.keys() - set(batch_job_ids):
                del times[gone]


def decide(
    batch_jobs: Sequence[BatchJobOut],
    allocations: Mapping[int, Allocation],
    limits: SchedulerSettings,
    memory: Memory,
    now: float,
) -> list[Action]:
    """What is to be done about the active BatchJobs; `allocations`: what there is of them, by BatchJob id."""
    in_queue = Counter(b.queue for b in batch_jobs if b.id in allocations)
    actions: list[Action] = []
    for batch_job in sorted(batch_jobs, key=lambda b: b.id):
        allocation = allocations.get(batch_job.id)
        if batch_job.state is BatchJobState.pending_submission:
            action = _begin(batch_job, allocation, limits, in_queue[batch_job.queue])
            in_queue[batch_job.queue] += isinstance(action, Submit) and allocation is None
        elif allocation is None:
            action = Report(batch_job.id, _without_allocation(batch_job))
        else:
            action = _follow(batch_job, allocation, memory, now)
        actions += [action] if action else []
    return actions


def orphans(
    batch_job_ids: Collection[int], allocations: Mapping[int, Allocation], memory: Memory, now: float
) -> list[Delete]:
    """Ends allocations whose BatchJobs are gone or over: nobody waits for them any more."""
    homeless = sorted(allocations.keys() - set(batch_job_ids))
    return [delete for i in homeless if (delete := _delete(i, allocations[i], memory, now))]


def _begin(
    batch_job: BatchJobOut, allocation: Allocation | None, limits: SchedulerSettings, in_queue: int
) -> Action | None:
    if allocation is not None:
        # Submitted before, and the submitter died before it could say so. A submission that still waits
        # is handed over again: that starts what was only noted, and never starts anything twice.
        waits = allocation.state is AllocationState.queued
        return Submit(batch_job) if waits else Report(batch_job.id, progress(batch_job, allocation))
    sentence = refusal(batch_job, limits)
    if sentence:
        return Report(batch_job.id, failed_submission(batch_job, sentence))
    most = limits.allowed_queues[batch_job.queue].max_queued_jobs
    if in_queue < most:
        return Submit(batch_job)
    return _wait(batch_job, f"queue {batch_job.queue} takes {most} allocations at once, and has them")


def _given_up(batch_job: BatchJobOut, sentence: str) -> Report:
    log.error("BatchJob %d can't be submitted: %s", batch_job.id, sentence)
    return Report(batch_job.id, failed_submission(batch_job, sentence))


def _wait(batch_job: BatchJobOut, sentence: str) -> Report | None:
    if batch_job.status_info.get("waiting") == sentence:
        return None
    return Report(batch_job.id, {"status_info": {**batch_job.status_info, "waiting": sentence}})


def _without_allocation(batch_job: BatchJobOut) -> dict[str, Any]:
    wished = batch_job.state is BatchJobState.pending_deletion
    cause = "deleted by user" if wished else "lost: the batch system does not know it"
    changes: dict[str, Any] = {"state": BatchJobState.finished, "cause": cause}
    if batch_job.start_time:
        changes["end_time"] = naive_text(now_us())
    return changes


def _follow(batch_job: BatchJobOut, allocation: Allocation, memory: Memory, now: float) -> Action | None:
    changes = progress(batch_job, allocation)
    if changes:
        return Report(batch_job.id, changes)
    if batch_job.state is BatchJobState.pending_deletion:
        return _delete(batch_job.id, allocation, memory, now)
    runs = allocation.state is AllocationState.running
    if runs and now - memory.vouched.get(batch_job.id, -VOUCH_SEC) >= VOUCH_SEC:
        return Report(batch_job.id, {"state": BatchJobState.running})
    return None


def _delete(batch_job_id: int, allocation: Allocation, memory: Memory, now: float) -> Delete | None:
    asked = memory.deleted.get(batch_job_id)
    if allocation.state is AllocationState.finished or (asked and now - asked < DELETE_AGAIN_SEC):
        return None
    return Delete(batch_job_id, allocation.scheduler_id)


def progress(batch_job: BatchJobOut, allocation: Allocation) -> dict[str, Any]:
    """The fields in which the server's record is behind the batch system."""
    ended = allocation.state is AllocationState.finished
    changes: dict[str, Any] = {}
    if batch_job.scheduler_id_text != allocation.scheduler_id:
        changes["scheduler_id_text"] = allocation.scheduler_id
        if allocation.scheduler_id.isdecimal():
            changes["scheduler_id"] = int(allocation.scheduler_id)
    if _time_differs(batch_job.start_time, allocation.start_us):
        changes["start_time"] = naive_text(allocation.start_us)
    if _time_differs(batch_job.end_time, allocation.end_us):
        changes["end_time"] = naive_text(allocation.end_us)
    if ended:
        changes["cause"] = cause_of_end(batch_job, allocation)
    state = STATE_OF_ALLOCATION[allocation.state]
    # Only its end overtakes the user's wish to delete it.
    if state is not batch_job.state and (ended or batch_job.state is not BatchJobState.pending_deletion):
        changes["state"] = state
    return changes


def _time_differs(text: str | None, us: int | None) -> bool:
    return us is not None and (text is None or UtcDatetime.parse(text) != from_us(us))


def cause_of_end(batch_job: BatchJobOut, allocation: Allocation) -> str:
    """Why it ended, in the words of the record."""
    wished = batch_job.state is BatchJobState.pending_deletion
    return "deleted by user" if wished and allocation.cause == "deleted" else allocation.cause or "unknown"


def failed_submission(batch_job: BatchJobOut, sentence: str) -> dict[str, Any]:
    """The fields of a BatchJob that can't be submitted."""
    info = {**batch_job.status_info, "error": storable(sentence), "error_time": _stamp()}
    return {"state": BatchJobState.submit_failed, "status_info": info}


def _stamp() -> str:
    return (naive_text(now_us()) or "").replace("T", " ")


def queue_of(
    batch_jobs: Mapping[int, BatchJobOut], allocations: Mapping[int, Allocation], now: int
) -> dict[str, dict[str, Any]]:
    """A site's `queued_jobs`: by scheduler id, what waits or runs there; minutes as they are now."""
    return {
        allocation.scheduler_id: _in_queue(batch_jobs[i], allocation, now)
        for i, allocation in sorted(allocations.items())
        if i in batch_jobs
        and allocation.state is not AllocationState.finished
        and allocation.scheduler_id.isdecimal()
    }


def _in_queue(batch_job: BatchJobOut, allocation: Allocation, now: int) -> dict[str, Any]:
    started = allocation.start_us
    since = started if started is not None else now
    waited = since - (_submitted(batch_job) or since)
    return {
        "scheduler_id": int(allocation.scheduler_id),
        "state": STATE_OF_ALLOCATION[allocation.state],
        **{name: getattr(batch_job, name) for name in ("queue", "num_nodes", "wall_time_min", "project")},
        "time_remaining_min": max(0, batch_job.wall_time_min - (now - since) // 60_000_000),
        "queued_time_min": max(0, waited // 60_000_000),
    }


def _submitted(batch_job: BatchJobOut) -> int | None:
    """When it was submitted, as `_stamp` wrote it; None where somebody else has written there."""
    try:
        return to_us(UtcDatetime.parse(batch_job.status_info.get("submit_time", "").replace(" ", "T")))
    except ValueError:
        return None


class SchedulerService:
    """Looks at the server when it rings and every `sync_period`, at the batch system while it has work.

    `settled`: whether what an ended allocation's launchers have left is delivered. Before that its end is not
    reported, for that ends their sessions. `may_submit`: asks the server for a BatchJob before it is handed
    to the batch system, so that nobody else does; raises ServerRefused.
    """

    name = "scheduler"

    def __init__(
        self,
        site: SiteFolder,
        client: Client,
        limits: SchedulerSettings,
        scheduler: Scheduler,
        bell: Bell,
        settled: Callable[[int], bool],
        may_submit: Callable[[int], object],
    ) -> None:
        self._site = site
        self._client = client
        self._limits = limits
        self._scheduler = scheduler
        self.bell = bell
        self._settled = settled
        self._may_submit = may_submit
        self._memory = Memory()
        self._batch_jobs: dict[int, BatchJobOut] = {}
        self._next_look = 0.0
        self._next_complaint = 0.0
        self._told_queue: dict[str, Any] | None = None
        self._outage = Outage()

    def run(self, stop: Stop) -> None:
        self._next_look = 0.0
        while not stop.is_set():
            try:
                pause = self._step()
                self._outage.answered()
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
            except (SchedulerError, OSError) as exc:  # OSError: of its files, on a filesystem that fails
                log.error("the batch system can't be asked: %s", exc)
                pause = self._limits.sync_period
                self._complain(str(exc))
            if self.bell.wait(pause):
                self._next_look = 0.0

    def _step(self) -> float:
        """One look; the seconds until the next."""
        now = time.monotonic()
        looks = now >= self._next_look
        if looks:
            self._fetch()
            self._next_look = now + self._limits.sync_period
        allocations = self._allocations()
        self._tell_queue(allocations)
        batch_jobs = list(self._batch_jobs.values())
        actions = decide(batch_jobs, allocations, self._limits, self._memory, now)
        if looks:  # only then the list is known to be whole
            actions += orphans(self._batch_jobs, allocations, self._memory, now)
        reports = [report for action in actions if (report := self._carry_out(action))]
        mended = [b.id for b in batch_jobs if COMPLAINT in b.status_info]
        self._send([*reports, *(Report(i, {"notes": {COMPLAINT: None}}) for i in mended)])
        self._memory.forget_all_but(self._batch_jobs.keys() | allocations.keys())
        until_look = self._next_look - time.monotonic()
        return min(until_look, self._scheduler.poll_sec) if self._watches() else until_look

    def _tell_queue(self, allocations: Mapping[int, Allocation]) -> None:
        """Tells the server what the batch system has of this site, where that has changed."""
        queue = queue_of(self._batch_jobs, allocations, now_us())
        states = {scheduler_id: one["state"] for scheduler_id, one in queue.items()}
        if states != self._told_queue:
            self._client.put(f"/sites/{self._site.site_id}", {"queued_jobs": queue})
            self._told_queue = states

    def _complain(self, sentence: str) -> None:
        """Notes with every active BatchJob why nothing happens to it; `_step` takes that back."""
        if time.monotonic() < self._next_complaint:
            return  # what it notes wakes this service, and the sentence may be another each time
        self._next_complaint = time.monotonic() + self._limits.sync_period
        note = storable(sentence)
        unaware = [b.id for b in self._batch_jobs.values() if b.status_info.get(COMPLAINT) != note]
        with contextlib.suppress(*OUTAGES):
            self._send([Report(i, {"notes": {COMPLAINT: note}}) for i in unaware])

    def _watches(self) -> bool:
        return any(b.state is not BatchJobState.pending_submission for b in self._batch_jobs.values())

    def _fetch(self) -> None:
        """The active BatchJobs of this site, as the server has them."""
        query = {"site_id": self._site.site_id, "state": sorted(ACTIVE_BATCH_JOB_STATES)}
        found = [BatchJobOut.model_validate(r) for r in all_records(self._client, "/batch-jobs/", query)]
        self._batch_jobs = {batch_job.id: batch_job for batch_job in found}

    def _allocations(self) -> dict[int, Allocation]:
        """What the batch system has of this site's BatchJobs, and what it runs beyond those."""
        known = self._scheduler.active()
        labels = {i: self._scheduler.find(label_of(i)) for i in self._batch_jobs}
        ended = [s for s in labels.values() if s is not None and s not in known]
        known = known | self._scheduler.status(ended)
        return {i: a for a in known.values() if (i := batch_job_id_of(a.label)) is not None}

    def _carry_out(self, action: Action) -> Report | None:
        """Acts on the batch system; what the server is to be told of it."""
        match action:
            case Submit(batch_job):
                return self._submit(batch_job)
            case Delete(batch_job_id, scheduler_id):
                log.info("ending allocation %s of BatchJob %d", scheduler_id, batch_job_id)
                self._memory.deleted[batch_job_id] = time.monotonic()
                self._scheduler.delete(scheduler_id)
                return None
            case Report(batch_job_id, changes):
                waits = changes.get("state") is BatchJobState.finished and not self._settled(batch_job_id)
                return None if waits else self._with_output(action)

    def _submit(self, batch_job: BatchJobOut) -> Report | None:
        if time.monotonic() < self._memory.unclaimed.get(batch_job.id, 0.0):
            return None
        asked = time.monotonic()
        try:
            self._may_submit(batch_job.id)
        except AuthError:
            raise
        except ServerRefused as exc:
            return self._not_ours(batch_job, exc.sentence)
        if time.monotonic() - asked > CLAIM_SEC:
            return (
                None  # this process, or the server, stood still: somebody else may have been let in meanwhile
            )
        submission = submission_of(batch_job, self._site)
        try:
            if self._scheduler.find(submission.label) is None:
                write_script(batch_job, self._site, self._limits)
            scheduler_id = self._scheduler.submit(submission)
        except OSError as exc:
            sentence = f"{exc.filename or submission.script}: {exc.strerror or exc}"
            return (self._try_again if exc.errno in NODE_SHORT else _given_up)(batch_job, sentence)
        except (TemplateError, SchedulerError) as exc:
            return _given_up(batch_job, str(exc))
        log.info("BatchJob %d is submitted as %s", batch_job.id, scheduler_id)
        allocation = self._scheduler.status([scheduler_id])[scheduler_id]
        info = {k: v for k, v in batch_job.status_info.items() if k != "waiting"}
        info |= {"submit_script": str(submission.script), "submit_time": _stamp()}
        report = Report(batch_job.id, {**progress(batch_job, allocation), "status_info": info})
        return self._with_output(report)

    def _try_again(self, batch_job: BatchJobOut, sentence: str) -> Report | None:
        """This machine or its filesystem is at fault, and not what was asked for."""
        log.warning("BatchJob %d is submitted later: %s", batch_job.id, sentence)
        later = time.monotonic() + SHORT_SEC
        self._memory.unclaimed[batch_job.id] = later
        self._next_look = min(self._next_look, later)
        return _wait(batch_job, storable(f"{sentence}; it is tried again every few seconds"))

    def _not_ours(self, batch_job: BatchJobOut, sentence: str) -> Report | None:
        log.warning("BatchJob %d is not submitted: %s", batch_job.id, sentence)
        self._memory.unclaimed[batch_job.id] = time.monotonic() + REPORT_AGAIN_SEC
        self._next_look = 0.0  # it may be another one's, or ended
        return _wait(batch_job, storable(sentence))

    def _with_output(self, report: Report) -> Report:
        """Adds the end of the allocation's output to the report of an end that nobody wished."""
        cause = report.changes.get("cause", "")
        if not cause or cause.startswith(EXPECTED_CAUSES):
            return report
        tail = logs.last_lines(Paths.of(self._site, report.batch_job_id).output, TAIL_LINES)
        log.warning("BatchJob %d ended: %s\n%s", report.batch_job_id, cause, tail)
        # Not the whole of status_info: launchers note theirs there, too.
        notes = {"error": storable(tail or cause), "error_time": _stamp()}
        return Report(report.batch_job_id, {**report.changes, "notes": notes})

    def _send(self, reports: list[Report]) -> None:
        since = time.monotonic() - REPORT_AGAIN_SEC
        reports = [r for r in reports if self._memory.refused.get(r.batch_job_id, since) <= since]
        if not reports:
            return
        try:
            answer = self._client.request("PATCH", "/batch-jobs/", body=[_item(report) for report in reports])
            records, refused = answer.body, refusals(answer.headers.get("Balsam-Refused"))
        except AuthError:
            raise
        except ServerRefused as exc:
            records, refused = [], [(report.batch_job_id, exc.sentence) for report in reports]
        for batch_job_id, reason in refused:
            log.warning("the server refused the report of BatchJob %d: %s", batch_job_id, reason)
            self._memory.refused[batch_job_id] = time.monotonic()
            self._next_look = 0.0
        for record in records:
            self._take_in(BatchJobOut.model_validate(record))

    def _take_in(self, batch_job: BatchJobOut) -> None:
        if batch_job.state in ACTIVE_BATCH_JOB_STATES:
            self._batch_jobs[batch_job.id] = batch_job
            self._memory.vouched[batch_job.id] = time.monotonic()
            return
        log.info("BatchJob %d is %s (%s)", batch_job.id, batch_job.state, batch_job.cause or "never ran")
        self._batch_jobs.pop(batch_job.id, None)


def _item(report: Report) -> dict[str, Any]:
    return {"id": report.batch_job_id, **report.changes}
