"""Jobs: one app to be run in one workdir."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from balsam.core.limits import DEFAULT_MAX_RESTARTS, MAX_PATH_CHARS, MAX_PAYLOAD_CHARS
from balsam.core.states import JobState, ParentsMust
from balsam.schemas.apps import SerializerInfo
from balsam.schemas.types import Id, JsonDict, Real, ReportDict, Tags, Text, UtcTime, Whole, Wire, Workdir

INT32 = 2**31 - 1


class JobOrdering(StrEnum):
    last_update = "last_update"
    last_update_desc = "-last_update"
    id = "id"
    id_desc = "-id"
    state = "state"
    state_desc = "-state"
    workdir = "workdir"
    workdir_desc = "-workdir"


class JobTransferItem(Wire):
    """Where a transfer slot's file is at the other end."""

    location_alias: Text
    path: Text = Field(max_length=MAX_PATH_CHARS)


class JobCreate(Wire):
    """A job to be queued; resources are per run."""

    workdir: Workdir
    app_id: Id
    tags: Tags = Field(default_factory=dict)
    serialized_parameters: Text = Field(default="", max_length=MAX_PAYLOAD_CHARS)
    data: JsonDict = Field(default_factory=dict)
    return_code: Whole | None = Field(default=None, ge=-INT32, le=INT32)
    num_nodes: Whole = Field(default=1, ge=0, le=INT32)
    ranks_per_node: Whole = Field(default=1, ge=1, le=INT32)
    threads_per_rank: Whole = Field(default=1, ge=1, le=INT32)
    threads_per_core: Whole = Field(default=1, ge=1, le=INT32)
    launch_params: Tags = Field(default_factory=dict)
    gpus_per_rank: Real = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    node_packing_count: Whole = Field(default=1, ge=1, le=INT32)
    wall_time_min: Whole = Field(default=0, ge=0, le=INT32)
    parent_ids: set[Id] = Field(default_factory=set)
    transfers: dict[Text, JobTransferItem] = Field(default_factory=dict)
    priority: Whole = Field(default=0, ge=-INT32, le=INT32)
    parents_must: ParentsMust = ParentsMust.finish
    max_restarts: Whole = Field(default=DEFAULT_MAX_RESTARTS, ge=0, le=INT32)
    mem_mb_per_rank: Whole = Field(default=0, ge=0, le=INT32)
    parameters_json: JsonDict | None = None
    serializer: SerializerInfo | None = None


class JobUpdate(Wire):
    """Only the fields that a request sets are changed; None means not set, but for `return_code`."""

    workdir: Workdir | None = None
    tags: Tags | None = None
    serialized_parameters: Text | None = Field(default=None, max_length=MAX_PAYLOAD_CHARS)
    data: JsonDict | None = None
    return_code: Whole | None = Field(default=None, ge=-INT32, le=INT32)
    num_nodes: Whole | None = Field(default=None, ge=0, le=INT32)
    ranks_per_node: Whole | None = Field(default=None, ge=1, le=INT32)
    threads_per_rank: Whole | None = Field(default=None, ge=1, le=INT32)
    threads_per_core: Whole | None = Field(default=None, ge=1, le=INT32)
    launch_params: Tags | None = None
    gpus_per_rank: Real | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    node_packing_count: Whole | None = Field(default=None, ge=1, le=INT32)
    wall_time_min: Whole | None = Field(default=None, ge=0, le=INT32)
    batch_job_id: Id | None = None
    state: JobState | None = None
    state_timestamp: UtcTime | None = None
    state_data: ReportDict | None = None
    pending_file_cleanup: bool | None = None
    serialized_return_value: Text | None = Field(default=None, max_length=MAX_PAYLOAD_CHARS)
    serialized_exception: Text | None = Field(default=None, max_length=MAX_PAYLOAD_CHARS)
    priority: Whole | None = Field(default=None, ge=-INT32, le=INT32)
    parents_must: ParentsMust | None = None
    max_restarts: Whole | None = Field(default=None, ge=0, le=INT32)
    mem_mb_per_rank: Whole | None = Field(default=None, ge=0, le=INT32)
    parameters_json: JsonDict | None = None


class JobBulkUpdate(JobUpdate):
    id: Id


class JobOut(Wire):
    id: Id
    workdir: str
    tags: dict[str, str]
    app_id: int
    site_id: int
    session_id: int | None
    serialized_parameters: str
    serialized_return_value: str
    serialized_exception: str
    batch_job_id: int | None
    state: JobState
    last_update: str
    data: dict[str, Any]
    return_code: int | None
    pending_file_cleanup: bool
    parent_ids: list[int]
    num_nodes: int
    ranks_per_node: int
    threads_per_rank: int
    threads_per_core: int
    gpus_per_rank: float
    node_packing_count: int
    wall_time_min: int
    launch_params: dict[str, str]
    priority: int
    parents_must: ParentsMust
    max_restarts: int
    mem_mb_per_rank: int
    parameters_json: dict[str, Any] | None
    serializer: SerializerInfo | None
    num_runs: int  # attempts so far


class JobsPatched(Wire):
    """How many items were applied, and [place in the request, job id, reason] of the others."""

    applied: int
    refused: list[tuple[int, int, str]]


class PaginatedJobsOut(Wire):
    count: int | None
    results: list[JobOut]


class WhyOut(Wire):
    """Why a job does not progress: a code for programs, a sentence for people.

    `doubt`: what strict handling would have refused it for; it is also the end of the sentence.
    """

    job_id: int
    code: str
    sentence: str
    doubt: str | None = None


class NeverStartingOut(Wire):
    """A job that can never start as things are, since a parent FAILED or was deleted, or a parent's parent.

    `chain`: ids from its parent to that root; `root_state`: None where the root was deleted; `reason`: why
    the root FAILED, as one line.
    """

    job_id: int
    chain: list[int]
    root_state: JobState | None
    reason: str


class RanVersionOut(Wire):
    """The version of its app that a job's last run ran."""

    job_id: int
    app_version: int


class WhyCountOut(Wire):
    """So many jobs of a site do not progress for this reason; `job_id`: the oldest, of which the sentence is.

    `cause`: of jobs that FAILED, what they have in common, as one line; each has a row of its own.
    The code `various`, without site and job: those that differ in too many ways to be counted by reason.
    """

    code: str
    site_id: int | None
    cause: str | None = None
    count: int
    job_id: int | None
    sentence: str
