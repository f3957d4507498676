"""The query strings of the lists, and the filters that they become."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated

from fastapi import Depends
from pydantic import Field
from sqlalchemy import Connection

from balsam.core.clock import to_us
from balsam.core.errors import Invalid
from balsam.core.limits import MAX_BOUNDED_COUNT, MAX_PAGE
from balsam.core.states import JobState, TransferDirection, TransferItemState
from balsam.schemas.batch_jobs import BatchJobOrdering
from balsam.schemas.events import EventOrdering
from balsam.schemas.jobs import JobOrdering
from balsam.schemas.types import Id, Text, UtcTime, Wire
from balsam.server.query_strings import of_query
from balsam.store.apps import AppFilter
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.database import Database
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.paging import Page
from balsam.store.sites import SiteFilter
from balsam.store.transfers import TransferFilter

MAX_OFFSET = 2**62
MAX_COLUMNS = 100
Ids = Annotated[list[Id] | None, Field(default=None, max_length=MAX_PAGE)]


class PageQuery(Wire):
    """`after` is the `next` of the page before.

    `count=no` leaves the count out. `count=bounded` counts jobs and events up to 100,000 only, which takes no
    longer where millions match, and adds `count_is_exact`: false where there are more.
    """

    limit: int = Field(default=MAX_PAGE, ge=0, le=MAX_PAGE)
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET)
    after: Text | None = None
    count: str = Field(default="yes", pattern="^(yes|no|bounded)$")

    @property
    def counted(self) -> bool:
        return self.count != "no"

    @property
    def count_limit(self) -> int | None:
        """How far to count; None: to the end."""
        return MAX_BOUNDED_COUNT if self.count == "bounded" else None

    def look(self, db: Database) -> AbstractContextManager[Connection]:
        """Where to read the page: a count is to agree with it."""
        return db.read() if self.counted else db.glance()

    def page(self, order: str = "id") -> Page:
        return Page(limit=self.limit, offset=self.offset, order=order, after=self.after)


class ColumnsQuery(PageQuery):
    """`columns`: the names of some, to be answered as lists instead of `results`; times in microseconds."""

    columns: list[Text] | None = Field(default=None, min_length=1, max_length=MAX_COLUMNS)


class SiteQuery(PageQuery):
    id: Ids
    name: Text | None = None
    path: Text | None = None
    last_refresh_after: UtcTime | None = None

    def filter(self) -> SiteFilter:
        return SiteFilter(self.id, self.name, self.path, _us(self.last_refresh_after))


class AppQuery(PageQuery):
    id: Ids
    site_id: Ids
    name: Text | None = None
    site_path: Text | None = None
    site_name: Text | None = None

    def filter(self) -> AppFilter:
        return AppFilter(self.id, self.site_id, self.name, self.site_path, self.site_name)


class AppIds(Wire):
    id: Ids


class JobSelection(Wire):
    """Which jobs: for lists, and for changes and deletions by query."""

    id: Ids
    parent_id: Ids
    app_id: Ids
    site_id: Ids
    batch_job_id: Ids
    session_id: Ids
    last_update_before: UtcTime | None = None
    last_update_after: UtcTime | None = None
    workdir__contains: Text | None = None
    state__ne: JobState | None = None
    state: list[JobState] | None = None
    tags: list[Text] | None = None
    pending_file_cleanup: bool | None = None
    failure: Text | None = None  # the signature of a run that failed: a `group` of /analytics/jobs/failures

    def filter(self) -> JobFilter:
        return JobFilter(
            id=self.id,
            parent_id=self.parent_id,
            app_id=self.app_id,
            site_id=self.site_id,
            batch_job_id=self.batch_job_id,
            session_id=self.session_id,
            last_update_before=_us(self.last_update_before),
            last_update_after=_us(self.last_update_after),
            workdir__contains=self.workdir__contains,
            state__ne=self.state__ne,
            state=self.state,
            tags=pairs(self.tags, "tags"),
            pending_file_cleanup=self.pending_file_cleanup,
            failure=self.failure,
        )


class JobTarget(JobSelection):
    """Which jobs to change; `all=yes`: every job of the caller."""

    all: str | None = Field(default=None, pattern="^yes$")

    def target(self, *, strict: bool) -> JobFilter:
        """`strict`: Invalid where all are chosen and that is not said; the published client can't say it."""
        chosen = self.filter()
        if chosen != JobFilter():
            if self.all is not None:
                raise Invalid(
                    "Which jobs? all=yes and other filters contradict each other: give one of them."
                )
        elif strict and self.all is None:
            raise Invalid("Which jobs? Give at least one filter, such as id, tags or state, or all=yes.")
        return chosen


class JobParts(JobTarget):
    """Those with larger ids than `after`, which is the `next` of the answer before."""

    after: Id = 0


class JobQuery(ColumnsQuery, JobSelection):
    ordering: JobOrdering = JobOrdering.id


class BatchJobSelection(Wire):
    id: Ids
    site_id: Ids
    state: list[Text] | None = None
    scheduler_id: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    queue: Text | None = None
    start_time_before: UtcTime | None = None
    start_time_after: UtcTime | None = None
    end_time_before: UtcTime | None = None
    end_time_after: UtcTime | None = None
    filter_tags: list[Text] | None = None
    cause: Text | None = None

    def filter(self) -> BatchJobFilter:
        return BatchJobFilter(
            id=self.id,
            site_id=self.site_id,
            state=self.state,
            scheduler_id=self.scheduler_id,
            queue=self.queue,
            cause=self.cause,
            start_time_before=_us(self.start_time_before),
            start_time_after=_us(self.start_time_after),
            end_time_before=_us(self.end_time_before),
            end_time_after=_us(self.end_time_after),
            filter_tags=pairs(self.filter_tags, "filter_tags"),
        )


class BatchJobTarget(BatchJobSelection):
    """Which BatchJobs to change: those of at least one filter."""

    def target(self) -> BatchJobFilter:
        chosen = self.filter()
        if chosen == BatchJobFilter():
            raise Invalid("Which BatchJobs? Give at least one filter, such as id or state.")
        return chosen


class BatchJobQuery(PageQuery, BatchJobSelection):
    ordering: BatchJobOrdering | None = None


class EventSelection(Wire):
    """Which events; unknown states choose none, as published."""

    id: Ids
    job_id: Ids
    batch_job_id: Ids
    site_id: Ids
    scheduler_id: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    tags: list[Text] | None = None
    data: list[Text] | None = None
    timestamp_before: UtcTime | None = None
    timestamp_after: UtcTime | None = None
    from_state: list[Text] | None = None
    to_state: list[Text] | None = None

    def filter(self) -> EventFilter:
        return EventFilter(
            id=self.id,
            job_id=self.job_id,
            batch_job_id=self.batch_job_id,
            scheduler_id=self.scheduler_id,
            tags=pairs(self.tags, "tags"),
            data=pairs(self.data, "data"),
            timestamp_before=_us(self.timestamp_before),
            timestamp_after=_us(self.timestamp_after),
            from_state=self.from_state,
            to_state=self.to_state,
            site_id=self.site_id,
        )


class EventQuery(ColumnsQuery, EventSelection):
    """`until`: a stream's cursor; only what it has behind it, so that the stream goes on where this ends."""

    ordering: EventOrdering = EventOrdering.timestamp_desc
    until: Text | None = None


class TransferSelection(Wire):
    id: Ids
    site_id: Id | None = None
    job_id: Ids
    state: list[TransferItemState] | None = None
    direction: TransferDirection | None = None
    job_state: Text | None = None
    tags: list[Text] | None = None

    def filter(self) -> TransferFilter:
        return TransferFilter(
            self.id,
            self.site_id,
            self.job_id,
            self.state,
            self.direction,
            self.job_state,
            pairs(self.tags, "tags"),
        )

    def target(self) -> TransferFilter:
        """Which are to be changed: Invalid without a filter."""
        chosen = self.filter()
        if chosen == TransferFilter():
            raise Invalid("Which TransferItems? Give at least one filter, such as id or job_id.")
        return chosen


class TransferQuery(PageQuery, TransferSelection):
    pass


class SessionQuery(Wire):
    id: Ids
    count: str = "yes"


def pairs(texts: list[str] | None, name: str) -> dict[str, str] | None:
    """`key:value` texts as a dict, `key=value` where there is no colon; a value may be empty."""
    if texts is None:
        return None
    found: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition(":" if ":" in text else "=")
        if not separator:
            raise Invalid(f"{name}={text!r} has no colon: write {name}=KEY:VALUE")
        if found.setdefault(key, value) != value:
            raise Invalid(f"{name} has {key!r} twice, as {found[key]!r} and {value!r}: nothing has both")
    return found


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


Sites = Annotated[SiteQuery, Depends(of_query(SiteQuery))]
Apps = Annotated[AppQuery, Depends(of_query(AppQuery))]
NewestQuery = Annotated[AppIds, Depends(of_query(AppIds))]
Jobs = Annotated[JobQuery, Depends(of_query(JobQuery))]
JobChoice = Annotated[JobSelection, Depends(of_query(JobSelection))]
JobsToChange = Annotated[JobTarget, Depends(of_query(JobTarget, exact=True))]
PartOfJobs = Annotated[JobParts, Depends(of_query(JobParts, exact=True))]
BatchJobsToChange = Annotated[BatchJobTarget, Depends(of_query(BatchJobTarget, exact=True))]
TransfersToChange = Annotated[TransferSelection, Depends(of_query(TransferSelection, exact=True))]
BatchJobs = Annotated[BatchJobQuery, Depends(of_query(BatchJobQuery))]
BatchJobChoice = Annotated[BatchJobSelection, Depends(of_query(BatchJobSelection))]
Events = Annotated[EventQuery, Depends(of_query(EventQuery))]
EventChoice = Annotated[EventSelection, Depends(of_query(EventSelection))]
Transfers = Annotated[TransferQuery, Depends(of_query(TransferQuery))]
Sessions = Annotated[SessionQuery, Depends(of_query(SessionQuery))]
