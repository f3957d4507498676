"""Sites: folders where jobs run."""

from uuid import UUID

from pydantic import Field

from balsam.core.states import BatchJobState
from balsam.schemas.types import AbsolutePath, Id, Name, Stringy, Text, UtcTime, Wire


class SchedulerBackfillWindow(Wire):
    num_nodes: int
    wall_time_min: int


class SchedulerJobStatus(Wire):
    scheduler_id: int
    state: BatchJobState
    queue: str
    num_nodes: int
    wall_time_min: int
    project: str
    time_remaining_min: int
    queued_time_min: int


class SchedulerJobLog(Wire):
    """What a batch system recorded about an allocation's start and end."""

    start_time: UtcTime | None = None
    end_time: UtcTime | None = None


class AllowedQueue(Wire):
    """What a queue takes: nodes per allocation, minutes, allocations waiting."""

    max_nodes: int
    max_walltime: int
    max_queued_jobs: int


class SiteUpdate(Wire):
    name: Name | None = None
    path: AbsolutePath | None = None
    globus_endpoint_id: UUID | None = None
    backfill_windows: dict[Text, list[SchedulerBackfillWindow]] | None = None
    queued_jobs: dict[int, SchedulerJobStatus] | None = None
    optional_batch_job_params: dict[Text, Stringy] | None = None
    allowed_projects: list[Text] | None = None
    allowed_queues: dict[Text, AllowedQueue] | None = None
    transfer_locations: dict[Text, Text] | None = None


class SiteCreate(Wire):
    name: Name
    path: AbsolutePath
    globus_endpoint_id: UUID | None = None
    backfill_windows: dict[Text, list[SchedulerBackfillWindow]] = Field(default_factory=dict)
    queued_jobs: dict[int, SchedulerJobStatus] = Field(default_factory=dict)
    optional_batch_job_params: dict[Text, Stringy] = Field(default_factory=dict)
    allowed_projects: list[Text] = Field(default_factory=list)
    allowed_queues: dict[Text, AllowedQueue] = Field(default_factory=dict)
    transfer_locations: dict[Text, Text] = Field(default_factory=dict)


class SiteOut(SiteCreate):
    id: Id
    last_refresh: str
    creation_date: str


class PaginatedSitesOut(Wire):
    count: int | None
    results: list[SiteOut]
