"""Brings a site's BatchJobs and its batch system together: submits, watches, reports, deletes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from balsam.client.errors import AuthError, ServerRefused
from balsam.client.jobs import refusals
from balsam.client.transport import Client
from balsam.core.allocation_causes import EXPECTED, EndOf
from balsam.core.clock import now_us
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState
from balsam.platform.schedulers.allocation import (
    AllocationState,
    Declined,
    Later,
    QueueView,
    Records,
    Scheduler,
    Submitted,
    Unsure,
)
from balsam.platform.template import TemplateError
from balsam.runtime import logs
from balsam.runtime.children import NODE_SHORT
from balsam.runtime.settings import SchedulerSettings
from balsam.runtime.site_folder import SiteFolder
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.allocation_reports import (
    DELETION,
    WAITING,
    Report,
    failed_submission,
    ids,
    queue_of,
    stamp,
    waits,
)
from balsam.site.labels import Labels
from balsam.site.ledger import Ledger, LedgerEntry, Step
from balsam.site.queue_decisions import Action, Delete, Submit, decide, orphans, tried_again
from balsam.site.queue_scene import RECORD_AGAIN_SEC, Memory, Scene, observe, to_account, to_search
from balsam.site.services import OUTAGES, Bell, Outage, Stop, all_records
from balsam.site.submission import Paths, submission_of, write_script
from balsam.site.wire_text import storable

log = logging.getLogger(__name__)

SHORT_SEC = 5.0  # before the next submission where this machine or a filesystem fails
REPORT_AGAIN_SEC = 60.0  # after the server refused a report
TAIL_LINES = 10
CLAIM_SEC = 10.0  # how long a claim of a BatchJob may take; shorter than the lease of the site
MOST_SUBMISSIONS = 10  # before somebody else's wishes are looked at again
NEW_LIST_SEC = 1.0  # until it is known whether an allocation without a BatchJob is nobody's
LONGEST_PAUSE_SEC = 600.0  # between looks at a batch system that does not answer
COMPLAINT = "scheduler"  # in status_info: why the batch system can't be asked


class Lookout:
    """Looks at the batch system, no more often than it may be asked, and less often where it fails."""

    def __init__(self, scheduler: Scheduler, now: float) -> None:
        self._scheduler = scheduler
        self._next = now
        self._failures = 0
        self._good: QueueView | None = None
        self.view: QueueView | None = None
        self.taken = -1e9
        self.trouble = ""

    def look(self, now: float) -> bool:
        """Whether it was time to look, and so was done."""
        if now < self._next:
            return False
        view = self._scheduler.look()
        self.taken = time.monotonic()
        self._failures = self._failures + 1 if view.trouble else 0
        self._next = self.taken + self._pause()
        self.trouble = view.trouble
        if view.complete:
            self._good = view
        self.view = view if view.complete else self._patched(view)
        return True

    def pause(self, now: float) -> float:
        """Seconds until the next look may be taken."""
        return max(0.0, self._next - now)

    def is_fresh(self, now: float) -> bool:
        """Whether the view is no older than it has to be, and was had at the last attempt."""
        return not self.trouble and now - self.taken < 2 * self._scheduler.poll_sec + 5.0

    def _pause(self) -> float:
        often = min(self._failures, 10)
        pause = self._scheduler.poll_sec * (2.0 ** (often - 1) if often else 1.0)
        longest = max(LONGEST_PAUSE_SEC, self._scheduler.poll_sec)
        return min(longest, pause) * (1 + random.random() / 10)

    def _patched(self, view: QueueView) -> QueueView:
        """What could be read of a listing that is not whole; of the rest what was there before."""
        new = {one.scheduler_id for one in view.allocations}
        old = self._good.allocations if self._good else ()
        return replace(view, allocations=(*view.allocations, *(a for a in old if a.scheduler_id not in new)))


class SchedulerService:
    """Looks at the server when it rings and every `sync_period`, at the batch system while it has work.

    `settled`: whether what an ended allocation's launchers have left is delivered. Before that its end is not
    reported, for that ends their sessions. `may_submit`: asks the server for a BatchJob before it is handed
    to the batch system, so that nobody else does; raises ServerRefused. `tell`: takes the sentence on what
    does not work, empty when it does again.
    """

    name = "scheduler"

    def __init__(
        self,
        site: SiteFolder,
        client: Client,
        limits: SchedulerSettings,
        scheduler: Scheduler,
        labels: Labels,
        bell: Bell,
        settled: Callable[[int], bool],
        may_submit: Callable[[int], object],
        tell: Callable[[str], None] = lambda _: None,
        certain_sec: float = 0.0,
    ) -> None:
        self._site = site
        self._client = client
        self._limits = limits
        self._scheduler = scheduler
        self._labels = labels
        self.bell = bell
        self._settled = settled
        self._may_submit = may_submit
        self._tell = tell
        self._certain_us = int(certain_sec * 1e6)
        self._ledger = Ledger(site.job_path / "ledger", site.site_id)
        self._memory = Memory()
        self._batch_jobs: dict[int, BatchJobOut] = {}
        self._lookout = Lookout(scheduler, time.monotonic())
        self._fetched = 0.0
        self._next_fetch = 0.0
        self._next_complaint = 0.0
        self._account_trouble = ""
        self._closed = False
        self._listed = False  # whether the batch system has anything of this site
        self._told_queue: dict[str, Any] | None = None
        self._outage = Outage()

    def run(self, stop: Stop) -> None:
        self._next_fetch = 0.0
        while not stop.is_set():
            try:
                pause = self._step()
                self._outage.answered()
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
            if self.bell.wait(pause):
                self._next_fetch = 0.0

    def close(self) -> None:
        """Ends a command of the batch system that hangs; what came of it is not told."""
        self._closed = True
        self._scheduler.close()

    def _step(self) -> float:
        """One look; the seconds until the next."""
        now = time.monotonic()
        fetches = now >= self._next_fetch
        if fetches:
            self._fetched = now
            self._fetch()
            self._next_fetch = now + self._limits.sync_period
        looks = self._needs_look() and self._lookout.look(now)
        scene = self._scene(looks)
        if self._closed:
            return 0.0
        self._tell_queue(scene)
        actions: Sequence[Action] = decide(scene, self._limits, self._memory, time.monotonic())
        if looks or fetches:
            actions = [*actions, *orphans(scene, self._memory, self._fetched, time.monotonic())]
            if any(first >= self._fetched for first in self._memory.homeless.values()):
                self._next_fetch = min(self._next_fetch, time.monotonic() + NEW_LIST_SEC)
        reports = self._carry_out(actions)
        self._send([*reports, *self._complaints()])
        known = self._batch_jobs.keys() | scene.own.keys()
        self._memory.forget_all_but(known)
        self._ledger.forget_all_but(self._batch_jobs.keys())
        return self._pause()

    def _needs_look(self) -> bool:
        """Whether there is anything for which the batch system has to be asked; at first there may be.

        What did not answer is asked until it does: else it would be said to be away for ever.
        """
        unknown = self._lookout.view is None or self._lookout.trouble
        return bool(self._batch_jobs or self._listed or unknown)

    def _pause(self) -> float:
        now = time.monotonic()
        pauses = [self._next_fetch - now]
        if self._needs_look():
            pauses.append(self._lookout.pause(now))
        pauses += [
            last + RECORD_AGAIN_SEC[min(times, len(RECORD_AGAIN_SEC)) - 1] - now
            for times, last in self._memory.recorded.values()
        ]
        return max(0.05, min(pauses))

    def _scene(self, looks: bool) -> Scene:
        """What is known, with what accounting tells of what is in doubt."""
        now = time.monotonic()
        scene = Scene(
            batch_jobs=list(self._batch_jobs.values()),
            entries=self._ledger.of(self._batch_jobs),
            labels=self._labels,
            view=self._lookout.view,
            now_us=now_us(),
            certain_us=self._certain_us,
            fresh=self._lookout.is_fresh(now),
        )
        if looks:
            observe(scene, self._memory, now)
        ids_asked = to_account(scene, self._memory, now)
        wanted = to_search(scene, self._memory, now)
        records = self._scheduler.account(ids_asked) if ids_asked else Records()
        found = self._scheduler.search(list(wanted), min(wanted.values())) if wanted else Records()
        if ids_asked or wanted:
            self._account_trouble = records.trouble or found.trouble
        elif not self._memory.recorded:
            self._account_trouble = ""
        answered: frozenset[str] = frozenset() if found.trouble else frozenset(wanted)
        return replace(scene, records=records, found=found, asked=frozenset(ids_asked), answered=answered)

    def _tell_queue(self, scene: Scene) -> None:
        """Tells the server what the batch system has of this site, where that has changed."""
        listed = {i: a for i in scene.own if (a := scene.allocation(i)) is not None}
        self._listed = any(a.state is not AllocationState.ended for a in listed.values())
        queue = queue_of(self._batch_jobs, listed, scene.now_us)
        states = {scheduler_id: one["state"] for scheduler_id, one in queue.items()}
        if states != self._told_queue:
            self._client.put(f"/sites/{self._site.site_id}", {"queued_jobs": queue})
            self._told_queue = states

    def _complaints(self) -> list[Report]:
        """Notes with every active BatchJob why the batch system tells nothing; takes that back afterwards."""
        trouble = self._lookout.trouble or self._account_trouble
        self._tell(trouble)
        noted = [b for b in self._batch_jobs.values() if COMPLAINT in b.status_info]
        if not trouble:
            self._next_complaint = 0.0
            return [Report(b.id, {"notes": {COMPLAINT: None}}) for b in noted]
        if time.monotonic() < self._next_complaint:
            return []  # what it notes wakes this service, and the sentence may be another each time
        self._next_complaint = time.monotonic() + self._limits.sync_period
        log.error("the batch system can't be asked: %s", trouble)
        note = storable(trouble)
        unaware = [b.id for b in self._batch_jobs.values() if b.status_info.get(COMPLAINT) != note]
        return [Report(i, {"notes": {COMPLAINT: note}}) for i in unaware]

    def _fetch(self) -> None:
        """The active BatchJobs of this site, as the server has them."""
        query = {"site_id": self._site.site_id, "state": sorted(ACTIVE_BATCH_JOB_STATES)}
        found = [BatchJobOut.model_validate(r) for r in all_records(self._client, "/batch-jobs/", query)]
        self._batch_jobs = {batch_job.id: batch_job for batch_job in found}

    def _carry_out(self, actions: Sequence[Action]) -> list[Report]:
        """Acts on the batch system; what the server is to be told of it."""
        reports: list[Report] = []
        submissions = 0
        for action in actions:
            if self._closed:
                break
            report: Report | None = None
            if isinstance(action, Submit):
                submissions += 1
                if submissions > MOST_SUBMISSIONS:
                    self.bell.ring()
                    continue
                report = self._submit(action)
            elif isinstance(action, Delete):
                report = self._delete(action)
            else:
                ends = action.changes.get("state") is BatchJobState.finished
                waiting = ends and not self._settled(action.batch_job_id)
                report = None if waiting else self._with_output(action)
            if report is not None:
                reports.append(report)
        return reports

    def _delete(self, action: Delete) -> Report | None:
        batch_job = self._batch_jobs.get(action.batch_job_id)
        now = time.monotonic()
        first, _ = self._memory.deleted.get(action.batch_job_id, (now, now))
        self._memory.deleted[action.batch_job_id] = (first, now)
        log.info("ending allocation %s of BatchJob %d", action.allocation.scheduler_id, action.batch_job_id)
        entry = self._ledger.of([action.batch_job_id]).get(action.batch_job_id)
        if batch_job and batch_job.state is BatchJobState.pending_deletion and entry and not entry.deleted_us:
            self._ledger.note(replace(entry, deleted_us=now_us()))
        trouble = self._scheduler.delete(action.allocation, action.politely)
        if not trouble:
            return None
        log.error("allocation %s can't be ended: %s", action.allocation.scheduler_id, trouble)
        return waits(batch_job, trouble, DELETION) if batch_job else None

    def _submit(self, action: Submit) -> Report | None:
        batch_job = action.batch_job
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
        label = self._labels.of(batch_job.id)
        submission = submission_of(batch_job, self._site, label)
        entry = LedgerEntry(batch_job.id, batch_job.site_id, label, Step.intended, now_us())
        if action.entry is not None:
            entry = replace(entry, attempts=action.entry.attempts + 1)
        try:
            write_script(batch_job, self._site, self._limits)
            self._ledger.put(entry)
        except (TemplateError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno in NODE_SHORT:
                return self._try_again(batch_job, f"{exc.filename or submission.script}: {exc.strerror}")
            sentence = f"{submission.script}: {exc}" if isinstance(exc, OSError) else str(exc)
            log.error("BatchJob %d can't be submitted: %s", batch_job.id, sentence)
            return Report(batch_job.id, failed_submission(batch_job, sentence))
        match self._scheduler.submit(submission):
            case Submitted(scheduler_id):
                log.info("BatchJob %d is submitted as %s", batch_job.id, scheduler_id)
                self._ledger.note(replace(entry, step=Step.submitted, scheduler_id=scheduler_id))
                notes = {WAITING: None, "submit_script": str(submission.script), "submit_time": stamp()}
                changes = {**ids(batch_job, scheduler_id), "state": BatchJobState.queued, "notes": notes}
                return Report(batch_job.id, changes)
            case Declined(sentence):
                log.error("BatchJob %d can't be submitted: %s", batch_job.id, sentence)
                closed = replace(entry, step=Step.ended, cause=EndOf.refused(sentence), sentence=sentence)
                return Report(batch_job.id, failed_submission(batch_job, sentence), closed)
            case Later(sentence):
                self._ledger.note(replace(entry, step=Step.later, sentence=sentence))
                return waits(batch_job, tried_again(sentence, entry.attempts))
            case Unsure(sentence):
                self._ledger.note(replace(entry, step=Step.unsure, sentence=sentence))
                return None  # the next look tells

    def _try_again(self, batch_job: BatchJobOut, sentence: str) -> Report | None:
        """This machine or its filesystem is at fault, and not what was asked for."""
        log.warning("BatchJob %d is submitted later: %s", batch_job.id, sentence)
        later = time.monotonic() + SHORT_SEC
        self._memory.unclaimed[batch_job.id] = later
        self._next_fetch = min(self._next_fetch, later)
        return waits(batch_job, f"{sentence}; it is tried again every few seconds")

    def _not_ours(self, batch_job: BatchJobOut, sentence: str) -> Report | None:
        log.warning("BatchJob %d is not submitted: %s", batch_job.id, sentence)
        self._memory.unclaimed[batch_job.id] = time.monotonic() + REPORT_AGAIN_SEC
        self._next_fetch = 0.0  # it may be another one's, or ended
        return waits(batch_job, sentence)

    def _with_output(self, report: Report) -> Report:
        """Adds the end of the allocation's output to the report of an end that nobody wished."""
        cause = report.changes.get("cause", "")
        if not cause or cause.startswith((*EXPECTED, EndOf.refused)):
            return report
        tail = logs.last_lines(Paths.of(self._site, report.batch_job_id).output, TAIL_LINES)
        log.warning("BatchJob %d ended: %s\n%s", report.batch_job_id, cause, tail)
        # Not the whole of status_info: launchers note theirs there, too.
        notes = {"error": storable(tail or cause), "error_time": stamp()}
        changes = {**report.changes, "notes": {**report.changes.get("notes", {}), **notes}}
        return replace(report, changes=changes)

    def _send(self, reports: list[Report]) -> None:
        since = time.monotonic() - REPORT_AGAIN_SEC
        merged = _merged([r for r in reports if self._memory.refused.get(r.batch_job_id, since) <= since])
        for report in merged:
            if not report.changes and report.entry is not None:
                self._ledger.note(report.entry)
        merged = [report for report in merged if report.changes]
        if not merged:
            return
        try:
            answer = self._client.request("PATCH", "/batch-jobs/", body=[_item(report) for report in merged])
            records, refused = answer.body, refusals(answer.headers.get("Balsam-Refused"))
        except AuthError:
            raise
        except ServerRefused as exc:
            records, refused = [], [(report.batch_job_id, exc.sentence) for report in merged]
        for batch_job_id, reason in refused:
            log.warning("the server refused the report of BatchJob %d: %s", batch_job_id, reason)
            self._memory.refused[batch_job_id] = time.monotonic()
            self._next_fetch = 0.0
        self._remember(merged, {batch_job_id for batch_job_id, _ in refused})
        for record in records:
            self._take_in(BatchJobOut.model_validate(record))

    def _remember(self, reports: Sequence[Report], refused: set[int]) -> None:
        """What the server has heard; before that a put back into the queue, or an end, is not to be noted."""
        for report in reports:
            if report.entry is not None and report.batch_job_id not in refused:
                self._ledger.note(report.entry)

    def _take_in(self, batch_job: BatchJobOut) -> None:
        if batch_job.state in ACTIVE_BATCH_JOB_STATES:
            self._batch_jobs[batch_job.id] = batch_job
            self._memory.vouched[batch_job.id] = time.monotonic()
            return
        log.info("BatchJob %d is %s (%s)", batch_job.id, batch_job.state, batch_job.cause or "never ran")
        self._batch_jobs.pop(batch_job.id, None)


def _merged(reports: Sequence[Report]) -> list[Report]:
    """One for each BatchJob: the server takes each once."""
    merged: dict[int, Report] = {}
    for report in reports:
        before = merged.get(report.batch_job_id)
        if before is None:
            merged[report.batch_job_id] = report
            continue
        notes = {**before.changes.get("notes", {}), **report.changes.get("notes", {})}
        changes = {**before.changes, **report.changes, **({"notes": notes} if notes else {})}
        merged[report.batch_job_id] = replace(before, changes=changes, entry=report.entry or before.entry)
    return list(merged.values())


def _item(report: Report) -> dict[str, Any]:
    return {"id": report.batch_job_id, **report.changes}
