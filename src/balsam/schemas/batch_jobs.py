"""BatchJobs: allocations of nodes."""

from enum import StrEnum

from pydantic import Field

from balsam.core.states import BatchJobState, JobMode
from balsam.schemas.jobs import INT32
from balsam.schemas.types import Id, Name, Report, Stringy, Tags, Text, UtcTime, Whole, Wire


class BatchJobOrdering(StrEnum):
    start_time = "start_time"
    start_time_desc = "-start_time"


class BatchJobPartition(Wire):
    """One launcher's share of an allocation."""

    job_mode: JobMode
    num_nodes: int = Field(ge=1, le=INT32)
    filter_tags: Tags = Field(default_factory=dict)


class BatchJobCreate(Wire):
    num_nodes: Whole = Field(ge=1, le=INT32)
    wall_time_min: Whole = Field(ge=1, le=INT32)
    job_mode: JobMode
    site_id: Id
    project: Name
    queue: Name
    optional_params: dict[Text, Stringy] = Field(default_factory=dict)
    filter_tags: Tags = Field(default_factory=dict)
    partitions: list[BatchJobPartition] | None = None


class BatchJobUpdate(Wire):
    """`notes`: keys of `status_info` to be set, or removed where they are null; the others stay.

    `requeued`: when the batch system put the allocation back into its queue. It starts anew: its start time
    is forgotten, and the launchers that ran in it before then are over.
    """

    scheduler_id: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    state: BatchJobState | None = None
    status_info: dict[Text, Report] | None = None
    notes: dict[Text, Report | None] | None = None
    start_time: UtcTime | None = None
    end_time: UtcTime | None = None
    cause: Text | None = None
    scheduler_id_text: Text | None = None
    requeued: UtcTime | None = None


class BatchJobBulkUpdate(BatchJobUpdate):
    id: Id


class BatchJobOut(BatchJobCreate):
    id: Id
    scheduler_id: int | None
    state: BatchJobState
    status_info: dict[str, str]
    start_time: str | None
    end_time: str | None
    cause: str | None = None
    scheduler_id_text: str | None = None


class BatchJobWhyOut(Wire):
    """Why an allocation is where it is, or why it ended: a code for programs, a sentence for people."""

    batch_job_id: int
    code: str
    sentence: str


class PaginatedBatchJobOut(Wire):
    count: int | None
    results: list[BatchJobOut]
