"""What analytics are computed over: the filters of one kind of query, and a window of time.

A query of events, of jobs or of BatchJobs chooses all that belongs to them: their events, runs, jobs and
allocations. What each filter means for each of these is said in docs/analytics.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from balsam.store import batch_jobs as batch_job_store
from balsam.store import events as event_store
from balsam.store import jobs as job_store
from balsam.store import runs as run_store
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import batch_jobs, events, jobs, runs
from balsam.store.tags import rarest_first

Conditions = list[ColumnElement[bool]]
# Filters of events that jobs have, too; the others choose the jobs that have such an event.
_OF_JOBS = ("job_id", "site_id", "tags")


@dataclass(frozen=True, slots=True)
class Scope:
    """`after` and `before`: the window, in microseconds since 1970; None is open. It ends `now` at last."""

    owner: Owner
    choice: EventFilter | JobFilter | BatchJobFilter
    now: int
    after: int | None = None
    before: int | None = None

    @classmethod
    def of(
        cls,
        conn: Connection,
        owner: Owner,
        choice: EventFilter | JobFilter | BatchJobFilter,
        after: int | None = None,
        before: int | None = None,
        *,
        now: int,
    ) -> Scope:
        """Its tags in the order in which they are searched fastest; an event filter has its own window."""
        if isinstance(choice, BatchJobFilter):
            return cls(owner, choice, now, after, before)
        choice = replace(choice, tags=rarest_first(conn, owner, choice.tags))
        if isinstance(choice, EventFilter):
            bare = replace(choice, timestamp_after=None, timestamp_before=None)
            return cls(owner, bare, now, choice.timestamp_after, choice.timestamp_before)
        return cls(owner, choice, now, after, before)

    def events(self) -> Conditions:
        """Events inside the window."""
        conditions = self._within(events.c.timestamp)
        if isinstance(self.choice, EventFilter):
            return event_store.where(self.owner, self.choice) + conditions
        if isinstance(self.choice, JobFilter):
            return [*self._of_jobs(events, self.choice), *conditions]
        inside = event_store.in_batch_jobs(self._batch_jobs(self.choice))
        return [*mine(events, self.owner), inside, *conditions]

    def runs(self) -> Conditions:
        """Runs that lie in the window, wholly or in part."""
        conditions: Conditions = []
        if self.before is not None:
            conditions.append(runs.c.start <= self.before)
        if self.after is not None:
            conditions.append(or_(runs.c.end.is_(None), runs.c.end >= self.after))
        if isinstance(self.choice, EventFilter):
            return run_store.where(self.owner, self.choice) + conditions
        if isinstance(self.choice, JobFilter):
            return [*self._of_jobs(runs, self.choice), *conditions]
        chosen = runs.c.batch_job_id.in_(self._batch_jobs(self.choice))
        return [*mine(runs, self.owner), chosen, *conditions]

    def jobs(self) -> Conditions:
        """Jobs as they are now, whatever the window."""
        if isinstance(self.choice, JobFilter):
            return job_store.where(self.owner, self.choice)
        if isinstance(self.choice, BatchJobFilter):
            ran = select(runs.c.job_id).where(runs.c.batch_job_id.in_(self._batch_jobs(self.choice)))
            return [*mine(jobs, self.owner), jobs.c.id.in_(ran)]
        shared = {name: getattr(self.choice, name) for name in _OF_JOBS}
        direct = JobFilter(id=shared.pop("job_id"), **shared)
        conditions = job_store.where(self.owner, direct)
        if replace(self.choice, **dict.fromkeys(_OF_JOBS)) != EventFilter():
            having = select(events.c.job_id).where(*event_store.where(self.owner, self.choice))
            conditions.append(jobs.c.id.in_(having))
        return conditions

    def batch_jobs(self) -> Conditions:
        """Allocations: those of a query of BatchJobs, else those in which chosen runs ran."""
        if isinstance(self.choice, BatchJobFilter):
            return batch_job_store.where(self.owner, self.choice)
        ran = select(runs.c.batch_job_id).where(*self.runs())
        return [*mine(batch_jobs, self.owner), batch_jobs.c.id.in_(ran)]

    def _within(self, column: ColumnElement[int]) -> Conditions:
        conditions: Conditions = []
        if self.before is not None:
            conditions.append(column <= self.before)
        if self.after is not None:
            conditions.append(column >= self.after)
        return conditions

    def _of_jobs(self, table: Any, choice: JobFilter) -> Conditions:
        if choice == JobFilter():
            return mine(table, self.owner, searched=True)
        chosen = select(jobs.c.id).where(*job_store.where(self.owner, choice))
        return [*mine(table, self.owner), table.c.job_id.in_(chosen)]

    def _batch_jobs(self, choice: BatchJobFilter) -> Select[tuple[int]]:
        return select(batch_jobs.c.id).where(*batch_job_store.where(self.owner, choice))
