"""Events: one for each state transition of each job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, NoReturn, TypedDict, Unpack

from balsam.core.clock import UtcDatetime
from balsam.core.limits import MAX_PAGE
from balsam.core.states import JobState
from balsam.schemas import EventOrdering
from balsam.sdk.event_stream import EventStream
from balsam.sdk.fields import PLAIN, READ, TIME, TREE, Field
from balsam.sdk.filters import TagFilter
from balsam.sdk.model import Model
from balsam.sdk.query import IDS_PER_REQUEST, Manager, Query, too_many
from balsam.sdk.sites import Site


class EventFilters(TypedDict, total=False):
    id: int | Iterable[int]
    job_id: int | Iterable[int]
    batch_job_id: int | Iterable[int]
    scheduler_id: int
    tags: TagFilter
    data: TagFilter
    timestamp_before: datetime
    timestamp_after: datetime
    from_state: JobState | str | Iterable[JobState | str]
    to_state: JobState | str | Iterable[JobState | str]
    site_id: int | Site | Iterable[int | Site]


class EventLog(Model):
    """A job's move from `from_state` to `to_state` at `timestamp`; `data` says more. Read only."""

    ROUTE = "/events/"
    UPDATABLE = False
    DELETABLE = False
    SHOWN = ("id", "job_id", "timestamp", "from_state", "to_state")
    COLUMNS = (*SHOWN, "batch_job_id", "data")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "job_id": Field(READ, PLAIN),
        "timestamp": Field(READ, TIME),
        "from_state": Field(READ, PLAIN),
        "to_state": Field(READ, PLAIN),
        "data": Field(READ, TREE, {}),
        "batch_job_id": Field(READ, PLAIN),
    }
    objects: ClassVar[EventLogManager]

    job_id: int
    timestamp: UtcDatetime
    from_state: str
    to_state: str
    data: dict[str, Any]
    batch_job_id: int | None

    def _create(self) -> NoReturn:
        self._has_no_route("created")


class EventLogQuery(Query[EventLog]):
    """Events that match filters, the newest first."""

    POSITIONS = tuple(EventFilters.__annotations__)
    FILTERS = (
        "scheduler_id",
        "tags",
        "data",
        "timestamp_before",
        "timestamp_after",
    )
    LIST_FILTERS = ("id", "job_id", "batch_job_id", "site_id", "from_state", "to_state")
    ENUM_FILTERS = {"from_state": JobState, "to_state": JobState}
    ORDERINGS = ("timestamp",)
    DEFAULT_ORDER = "-timestamp"
    COLUMNAR = True

    def filter(self, *values: Any, **filters: Unpack[EventFilters]) -> EventLogQuery:
        """`tags` are those of the jobs; `scheduler_id` that of the BatchJob which ran them."""
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[EventFilters]) -> EventLog:
        return self.narrowed(filters, values).the_one()

    def stream(
        self, *, cursor: str | None = None, since: datetime | None = None, last: int = 0
    ) -> EventStream:
        """What matches from now on, as it happens; ValueError for a slice.

        `cursor`: that of an earlier stream, to go on behind it instead of now. `since`: first all from that
        time (of `timestamp`) to now, in the order of time; `last`: first so many of the newest, oldest first.
        A BatchJob's events are those from the start of a run in it, not what its jobs went through before.
        """
        if self.is_sliced or sum((cursor is not None, since is not None, last > 0)) > 1:
            raise ValueError("a stream has no slice, and one of cursor, since and last at most")
        if not 0 <= last <= MAX_PAGE:
            raise ValueError(f"last={last} is not between 0 and {MAX_PAGE:,}")
        for name, value in self._filters.items():
            if isinstance(value, list) and len(value) > IDS_PER_REQUEST:
                raise ValueError(too_many("a stream", name, len(value)))
        if since is not None and (after := self._filters.get("timestamp_after")) is not None:
            since = max(UtcDatetime.of(since), UtcDatetime.of(after))
        return EventStream(self, cursor, since, last)

    def of_row(self, row: dict[str, Any]) -> EventLog:
        """The event of a row that the server answered."""
        return self._model.from_row(row, self._client)

    def order_by(self, field: EventOrdering | str | None) -> EventLogQuery:
        """`timestamp` or `-timestamp`."""
        return self.ordered(field)


class EventLogManager(Manager[EventLog, EventLogQuery]):
    """`EventLog.objects`."""

    def filter(self, *values: Any, **filters: Unpack[EventFilters]) -> EventLogQuery:
        """`tags` are those of the jobs; `scheduler_id` that of the BatchJob which ran them."""
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[EventFilters]) -> EventLog:
        return self.all().get(*values, **filters)

    def stream(
        self,
        *,
        cursor: str | None = None,
        since: datetime | None = None,
        last: int = 0,
        **filters: Unpack[EventFilters],
    ) -> EventStream:
        """What matches from now on, as it happens; see `EventLogQuery.stream`."""
        return self.all().filter(**filters).stream(cursor=cursor, since=since, last=last)


EventLog.objects = EventLogManager(EventLog, EventLogQuery)
