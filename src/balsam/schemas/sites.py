"""Sites: folders where jobs run."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from balsam.core.limits import MAX_ID
from balsam.core.states import BatchJobState
from balsam.schemas.agents import AgentOut
from balsam.schemas.types import AbsolutePath, Id, Int64, Name, Stringy, Text, UtcTime, Wire


class SchedulerBackfillWindow(Wire):
    num_nodes: Int64
    wall_time_min: Int64


class SchedulerJobStatus(Wire):
    scheduler_id: Int64
    state: BatchJobState
    queue: Text
    num_nodes: Int64
    wall_time_min: Int64
    project: Text
    time_remaining_min: Int64
    queued_time_min: Int64


class SchedulerJobLog(Wire):
    """What a batch system recorded about an allocation's start and end."""

    start_time: UtcTime | None = None
    end_time: UtcTime | None = None


class AllowedQueue(Wire):
    """What a queue takes: nodes per allocation, minutes, allocations waiting."""

    max_nodes: Int64
    max_walltime: Int64
    max_queued_jobs: Int64


class NodeType(Wire):
    """What a node of the site holds."""

    cpus: int = Field(ge=0, le=MAX_ID)
    gpus: int = Field(ge=0, le=MAX_ID)
    mem_mb: int = Field(ge=0, le=MAX_ID)


NodeTypes = Annotated[list[NodeType], Field(max_length=1_000)]


# Published clients read a site only where each of these is one.
Url = Annotated[Text, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://")]


class SiteUpdate(Wire):
    name: Name | None = None
    path: AbsolutePath | None = None
    globus_endpoint_id: UUID | None = None
    backfill_windows: dict[Text, list[SchedulerBackfillWindow]] | None = None
    queued_jobs: dict[Int64, SchedulerJobStatus] | None = None
    optional_batch_job_params: dict[Text, Stringy] | None = None
    allowed_projects: list[Text] | None = None
    allowed_queues: dict[Text, AllowedQueue] | None = None
    transfer_locations: dict[Text, Url] | None = None
    nodes: NodeTypes | None = None
    moves_files: bool | None = None


class SiteCreate(Wire):
    name: Name
    path: AbsolutePath
    globus_endpoint_id: UUID | None = None
    backfill_windows: dict[Text, list[SchedulerBackfillWindow]] = Field(default_factory=dict)
    queued_jobs: dict[Int64, SchedulerJobStatus] = Field(default_factory=dict)
    optional_batch_job_params: dict[Text, Stringy] = Field(default_factory=dict)
    allowed_projects: list[Text] = Field(default_factory=list)
    allowed_queues: dict[Text, AllowedQueue] = Field(default_factory=dict)
    transfer_locations: dict[Text, Url] = Field(default_factory=dict)
    nodes: NodeTypes | None = None  # None: its agent has not told
    moves_files: bool | None = None  # likewise


class SiteOut(SiteCreate):
    id: Id
    last_refresh: str
    creation_date: str
    agent: AgentOut | None = None  # None: no agent of this release has worked there


class PaginatedSitesOut(Wire):
    count: int | None
    results: list[SiteOut]
