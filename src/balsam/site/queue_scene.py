"""What a site's agent knows when it decides about BatchJobs, and what it has yet to ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from balsam.core.states import BatchJobState
from balsam.platform.schedulers.allocation import Allocation, AllocationState, QueueView, Records
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.allocation_reports import is_requeued
from balsam.site.labels import Labels
from balsam.site.ledger import UNCERTAIN, LedgerEntry, Step

RECORD_TRIES = 3  # accounting lags: so often it is asked how something ended that the queue shows as over
RECORD_AGAIN_SEC = (3.0, 3.0, 6.0, 30.0, 60.0)
SEARCH_AGAIN_SEC = 15.0


@dataclass(frozen=True)
class Absence:
    """Since when, and in how many complete listings, an allocation is missing; seconds of both clocks."""

    since: float
    since_us: int
    looks: int = 1


@dataclass
class Memory:
    """What was seen and asked when, by BatchJob id, in seconds of the monotonic clock."""

    vouched: dict[int, float] = field(default_factory=dict)
    deleted: dict[int, tuple[float, float]] = field(default_factory=dict)  # first and last
    refused: dict[int, float] = field(default_factory=dict)
    unclaimed: dict[int, float] = field(default_factory=dict)  # when the server may be asked for it again
    absent: dict[int, Absence] = field(default_factory=dict)
    recorded: dict[int, tuple[int, float]] = field(
        default_factory=dict
    )  # how often accounting was asked, when
    searched: dict[int, float] = field(default_factory=dict)
    homeless: dict[int, float] = field(default_factory=dict)  # allocations without a BatchJob, first seen

    def forget_all_but(self, batch_job_ids: Collection[int]) -> None:
        """The homeless are forgotten by `orphans`."""
        kinds: tuple[dict[int, Any], ...] = (
            *(self.vouched, self.deleted, self.refused, self.unclaimed),
            *(self.absent, self.recorded, self.searched),
        )
        for times in kinds:
            for gone in times.keys() - set(batch_job_ids):
                del times[gone]


@dataclass(frozen=True)
class Scene:
    """All that decisions rest on.

    `fresh`: whether the view is of now. `asked`: ids that accounting was asked for just now; `answered`:
    labels that it was searched for, with an answer. `certain_us`: how long a submission may take until
    listings and accounting show it.
    """

    batch_jobs: Sequence[BatchJobOut]
    entries: Mapping[int, LedgerEntry]
    labels: Labels
    view: QueueView | None
    now_us: int
    certain_us: int
    fresh: bool = True
    records: Records = field(default_factory=Records)
    found: Records = field(default_factory=Records)
    asked: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()

    @cached_property
    def own(self) -> dict[int, list[Allocation]]:
        """This site's allocations in the view, by BatchJob id."""
        mine: dict[int, list[Allocation]] = {}
        for allocation in self.view.allocations if self.view else ():
            batch_job_id = self.labels.batch_job_id(allocation.label)
            if batch_job_id is not None and self.is_of(batch_job_id, allocation):
                mine.setdefault(batch_job_id, []).append(allocation)
        return mine

    @cached_property
    def owners(self) -> dict[str, int]:
        """Of which BatchJob each id is that the ledger or the server knows."""
        known = {b.id: known_id(b, self.entries.get(b.id)) for b in self.batch_jobs}
        return {scheduler_id: i for i, scheduler_id in known.items() if scheduler_id is not None}

    def is_of(self, batch_job_id: int, allocation: Allocation) -> bool:
        """Whether nothing is known that speaks against what its label says."""
        return self.owners.get(allocation.scheduler_id, batch_job_id) == batch_job_id

    def allocation(self, batch_job_id: int) -> Allocation | None:
        """The one that is meant: of the id in the ledger, or the first that goes on."""
        candidates = self.own.get(batch_job_id, [])
        entry = self.entries.get(batch_job_id)
        known = entry.scheduler_id if entry else None
        same = [one for one in candidates if one.scheduler_id == known]
        going = [one for one in candidates if one.state is not AllocationState.ended]
        by_age = sorted(going, key=lambda one: (one.submit_us or 0, len(one.scheduler_id), one.scheduler_id))
        if same and (same[0].state is not AllocationState.ended or not going):
            return same[0]
        return next(iter(by_age or candidates), None)

    def looked_since(self, entry: LedgerEntry | None) -> bool:
        """Whether the view would show an allocation that was submitted as the ledger says."""
        if self.view is None or not self.view.complete:
            return False
        return entry is None or self.view.taken_at > entry.begun_us


def known_id(batch_job: BatchJobOut, entry: LedgerEntry | None) -> str | None:
    """The scheduler's id, as the ledger or else the server has it."""
    told = batch_job.scheduler_id_text or batch_job.scheduler_id
    return (entry.scheduler_id if entry else None) or (None if told is None else str(told))


def observe(scene: Scene, memory: Memory, now: float) -> None:
    """Counts the looks in which allocations are missing; once for each new view."""
    for batch_job in scene.batch_jobs:
        entry = scene.entries.get(batch_job.id)
        if scene.allocation(batch_job.id) is not None:
            memory.absent.pop(batch_job.id, None)
        elif scene.looked_since(entry) and is_out(batch_job, entry):
            before = memory.absent.get(batch_job.id)
            memory.absent[batch_job.id] = (
                Absence(now, scene.now_us) if before is None else replace(before, looks=before.looks + 1)
            )


def is_out(batch_job: BatchJobOut, entry: LedgerEntry | None) -> bool:
    """Whether the batch system has, or had, an allocation of it."""
    if entry is not None:
        return entry.step is Step.submitted
    return batch_job.state is not BatchJobState.pending_submission and (
        known_id(batch_job, entry) is not None or batch_job.state is not BatchJobState.pending_deletion
    )


def to_account(scene: Scene, memory: Memory, now: float) -> dict[str, str]:
    """The ids that accounting is to be asked for now, with their labels; notes that it was."""
    asked: dict[str, str] = {}
    for batch_job in scene.batch_jobs:
        entry, allocation = scene.entries.get(batch_job.id), scene.allocation(batch_job.id)
        scheduler_id = allocation.scheduler_id if allocation else known_id(batch_job, entry)
        if scheduler_id is None or not _is_doubtful(batch_job, entry, allocation, memory):
            continue
        times, last = memory.recorded.get(batch_job.id, (0, now))
        if times and now - last < RECORD_AGAIN_SEC[min(times, len(RECORD_AGAIN_SEC)) - 1]:
            continue
        memory.recorded[batch_job.id] = (times + 1, now)
        asked[scheduler_id] = label_of(scene, batch_job, entry, allocation)
    return asked


def _is_doubtful(
    batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation | None, memory: Memory
) -> bool:
    """Whether accounting knows better than the queue: how it ended, or why it was put back."""
    if allocation is None:
        return batch_job.id in memory.absent and (entry is None or entry.step is not Step.ended)
    if allocation.state is AllocationState.ended:
        return True
    doubtful = is_requeued(batch_job, entry, allocation)
    if not doubtful:
        memory.recorded.pop(batch_job.id, None)
    return doubtful


def label_of(
    scene: Scene, batch_job: BatchJobOut, entry: LedgerEntry | None, allocation: Allocation | None
) -> str:
    told = allocation.label if allocation else (entry.label if entry else "")
    return told or scene.labels.of(batch_job.id)


def to_search(scene: Scene, memory: Memory, now: float) -> dict[str, int]:
    """Labels of submissions that were not answered and are not listed, with the times when they began."""
    wanted: dict[str, int] = {}
    for batch_job in scene.batch_jobs:
        entry = scene.entries.get(batch_job.id)
        if entry is None or entry.step not in UNCERTAIN or scene.allocation(batch_job.id) is not None:
            continue
        due = now - memory.searched.get(batch_job.id, -SEARCH_AGAIN_SEC) >= SEARCH_AGAIN_SEC
        if due and scene.looked_since(entry) and scene.now_us - entry.begun_us >= scene.certain_us:
            memory.searched[batch_job.id] = now
            wanted[label_of(scene, batch_job, entry, None)] = entry.begun_us
    return wanted
