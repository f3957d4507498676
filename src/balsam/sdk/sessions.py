"""Sessions: leases on jobs, held by launchers and agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypedDict, Unpack

from balsam.core.clock import UtcDatetime
from balsam.core.states import RUNNABLE_STATES, JobState
from balsam.schemas.sessions import SessionTickOut
from balsam.sdk.fields import CREATE, PLAIN, READ, TIME, Field
from balsam.sdk.jobs import Job
from balsam.sdk.model import Model
from balsam.sdk.query import Manager, Query
from balsam.sdk.sites import Site

SET_ONCE = CREATE | READ


class SessionOptions(TypedDict, total=False):
    fenced: bool
    partition: int | None
    num_nodes: int | None
    started: datetime | None


class SessionFilters(TypedDict, total=False):
    id: int | Iterable[int]


class Session(Model):
    """A lease on the jobs that were acquired through it; it lasts while it ticks.

    `fenced`: while it holds a job, only requests that name it may change the job's state.
    """

    ROUTE = "/sessions/"
    UPDATABLE = False
    SHOWN = ("id", "site_id", "batch_job_id")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "site_id": Field(SET_ONCE, PLAIN),
        "batch_job_id": Field(SET_ONCE, PLAIN),
        "fenced": Field(SET_ONCE, PLAIN, False),
        "partition": Field(SET_ONCE, PLAIN),
        "num_nodes": Field(SET_ONCE, PLAIN),
        "started": Field(SET_ONCE, TIME),
        "heartbeat": Field(READ, TIME),
        "ended": Field(READ, TIME),
        "lease_sec": Field(READ, PLAIN),
    }
    objects: ClassVar[SessionManager]

    site_id: int
    batch_job_id: int | None
    fenced: bool
    partition: int | None
    num_nodes: int | None
    started: UtcDatetime
    heartbeat: UtcDatetime
    ended: UtcDatetime | None
    lease_sec: float

    def __init__(
        self, site_id: int | Site, batch_job_id: int | None = None, **options: Unpack[SessionOptions]
    ) -> None:
        number = site_id.id if isinstance(site_id, Site) else site_id
        super().__init__(site_id=number, batch_job_id=batch_job_id, **options)

    def acquire_jobs(
        self,
        max_num_jobs: int,
        max_wall_time_min: float | None = None,
        max_nodes_per_job: int | None = None,
        max_aggregate_nodes: float | None = None,
        serial_only: bool = False,
        sort_by: str | None = None,
        filter_tags: Mapping[str, Any] | None = None,
        states: Iterable[JobState | str] = RUNNABLE_STATES,
        app_ids: Iterable[int] | None = None,
        *,
        key: str | None = None,
    ) -> list[Job]:
        """Takes hold of up to `max_num_jobs` jobs in `states`; their state does not change.

        `key`: asking again with the same key answers the same jobs. `sort_by`: None or
        `long_large_first`. What the jobs `save()` is said in the name of this session.
        """
        body = {
            "max_num_jobs": max_num_jobs,
            "max_wall_time_min": max_wall_time_min,
            "max_nodes_per_job": max_nodes_per_job,
            "max_aggregate_nodes": max_aggregate_nodes,
            "serial_only": serial_only,
            "sort_by": sort_by,
            "filter_tags": {str(name): str(value) for name, value in (filter_tags or {}).items()},
            "states": sorted(JobState(state).value for state in states),
            "app_ids": sorted(set(app_ids or ())),
        }
        rows = self.client().post(f"{self.ROUTE}{self.id}", body, key=key)
        return [self._held(row) for row in rows]

    def tick(
        self, *, digest: str | None = None, job_ids: Iterable[int] | None = None
    ) -> SessionTickOut | None:
        """A heartbeat; with `digest` or `job_ids` of the jobs believed held, what the server says of them."""
        told: dict[str, Any] = {}
        if digest is not None:
            told["digest"] = digest
        if job_ids is not None:
            told["job_ids"] = sorted(job_ids)
        answer = self.client().put(f"{self.ROUTE}{self.id}", told)
        return SessionTickOut(**answer) if answer else None

    def _held(self, row: dict[str, Any]) -> Job:
        job = Job.from_row(row, self.client())
        job._session_id = self.id
        return job


class SessionQuery(Query[Session]):
    """Sessions that match filters."""

    POSITIONS = tuple(SessionFilters.__annotations__)
    LIST_FILTERS = ("id",)

    def filter(self, *values: Any, **filters: Unpack[SessionFilters]) -> SessionQuery:
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[SessionFilters]) -> Session:
        return self.narrowed(filters, values).the_one()


class SessionManager(Manager[Session, SessionQuery]):
    """`Session.objects`."""

    def create(
        self, site_id: int | Site, batch_job_id: int | None = None, **options: Unpack[SessionOptions]
    ) -> Session:
        return self.created(Session(site_id, batch_job_id, **options))

    def filter(self, *values: Any, **filters: Unpack[SessionFilters]) -> SessionQuery:
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[SessionFilters]) -> Session:
        return self.all().get(*values, **filters)


Session.objects = SessionManager(Session, SessionQuery)
