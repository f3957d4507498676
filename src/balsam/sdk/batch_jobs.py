"""BatchJobs: allocations of nodes that a site asks its batch scheduler for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypedDict, Unpack

from balsam.core import allocations
from balsam.core.clock import UtcDatetime
from balsam.core.states import BatchJobState, JobMode
from balsam.schemas import AllowedQueue, BatchJobOrdering, BatchJobPartition
from balsam.schemas.batch_jobs import BatchJobWhyOut
from balsam.schemas.messages import DrainOut
from balsam.sdk.bounded import EXPLAINED, bounded
from balsam.sdk.fields import CREATE, PLAIN, READ, TAGS, TIME, UPDATE, Field, enum, schema, whole
from balsam.sdk.filters import TagFilter
from balsam.sdk.model import Model
from balsam.sdk.query import Manager, Query
from balsam.sdk.sites import Site
from balsam.sdk.spelling import in_places

SET_ONCE = CREATE | READ
LATER = UPDATE | READ


class BatchJobOptions(TypedDict, total=False):
    optional_params: Mapping[str, Any] | None
    filter_tags: Mapping[str, Any] | None
    partitions: list[BatchJobPartition] | None


class BatchJobUpdates(TypedDict, total=False):
    scheduler_id: int
    state: BatchJobState | str
    status_info: Mapping[str, str]
    start_time: datetime
    end_time: datetime
    cause: str
    scheduler_id_text: str


class BatchJobFilters(TypedDict, total=False):
    id: int | Iterable[int]
    site_id: int | Site | Iterable[int]
    state: BatchJobState | str | Iterable[BatchJobState | str]
    scheduler_id: int
    queue: str
    start_time_before: datetime
    start_time_after: datetime
    end_time_before: datetime
    end_time_after: datetime
    filter_tags: TagFilter
    cause: str


class BatchJob(Model):
    """A request for `num_nodes` nodes for `wall_time_min` minutes; a launcher runs jobs on them.

    `filter_tags`: only jobs with these tags are run. `partitions`: several launchers share the nodes.
    """

    ROUTE = "/batch-jobs/"
    SHOWN = ("id", "site_id", "num_nodes", "wall_time_min", "state")
    COLUMNS = (*SHOWN, "job_mode", "queue", "project", "scheduler_id", "start_time", "end_time")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "num_nodes": Field(SET_ONCE, whole(1)),
        "wall_time_min": Field(SET_ONCE, whole(1)),
        "job_mode": Field(SET_ONCE, enum(JobMode)),
        "site_id": Field(SET_ONCE, PLAIN),
        "project": Field(SET_ONCE, PLAIN),
        "queue": Field(SET_ONCE, PLAIN),
        "optional_params": Field(SET_ONCE, TAGS, {}),
        "filter_tags": Field(SET_ONCE, TAGS, {}),
        "partitions": Field(SET_ONCE, schema(list[BatchJobPartition])),
        "scheduler_id": Field(LATER, PLAIN),
        "state": Field(LATER, enum(BatchJobState)),
        "status_info": Field(LATER, TAGS, {}),
        "start_time": Field(LATER, TIME),
        "end_time": Field(LATER, TIME),
        "cause": Field(LATER, PLAIN),
        "scheduler_id_text": Field(LATER, PLAIN),
    }
    objects: ClassVar[BatchJobManager]

    num_nodes: int
    wall_time_min: int
    job_mode: JobMode
    site_id: int
    project: str
    queue: str
    optional_params: dict[str, str]
    filter_tags: dict[str, str]
    partitions: list[BatchJobPartition] | None
    scheduler_id: int | None
    state: BatchJobState
    status_info: dict[str, str]
    start_time: UtcDatetime | None
    end_time: UtcDatetime | None
    cause: str | None
    scheduler_id_text: str | None

    def __init__(
        self,
        num_nodes: int,
        wall_time_min: int,
        job_mode: JobMode | str,
        site_id: int | Site,
        project: str,
        queue: str,
        *values: Any,
        **options: Unpack[BatchJobOptions],
    ) -> None:
        placed = in_places("BatchJob", tuple(BatchJobOptions.__annotations__), values, options)
        super().__init__(
            num_nodes=num_nodes,
            wall_time_min=wall_time_min,
            job_mode=job_mode,
            site_id=site_id.id if isinstance(site_id, Site) else site_id,
            project=project,
            queue=queue,
            **placed,
            **options,
        )

    def validate(
        self,
        allowed_queues: Mapping[str, AllowedQueue],
        allowed_projects: Iterable[str],
        optional_batch_job_params: Mapping[str, str],
    ) -> None:
        """Raises ValueError, with what is allowed, for a request that the site's queues would not take."""
        sentence = allocations.refusal(
            self, allowed_queues, list(allowed_projects), optional_batch_job_params
        )
        if sentence:
            raise ValueError(sentence)

    def drain(self) -> DrainOut:
        """Lets its launchers end after the runs that go on: they start nothing more and give back the rest.

        Waits up to 10 s for their answers; `silent` has a sentence for each that gave none (it is told as
        soon as it is back). Raises ServerRefused where the allocation has no launcher.
        """
        self._must_be_saved("drain")
        return DrainOut(**self.client().post(f"{self.ROUTE}{self.id}/drain", None))

    def why(self) -> BatchJobWhyOut:
        """Why it is not submitted, does not start or runs nothing, or why it ended: a code and a sentence."""
        self._must_be_saved("explain")
        return BatchJobWhyOut(**self.client().get(f"{self.ROUTE}{self.id}/why"))

    def partitions_to_cli_args(self) -> str:
        """The partitions as options of the launcher: `--part mode:nodes[:key=value...]` for each."""
        return " ".join(f"--part {_part_text(part)}" for part in self.partitions or [])


class BatchJobQuery(Query[BatchJob]):
    """BatchJobs that match filters."""

    POSITIONS = tuple(BatchJobFilters.__annotations__)
    FILTERS = (
        "scheduler_id",
        "queue",
        "start_time_before",
        "start_time_after",
        "end_time_before",
        "end_time_after",
        "filter_tags",
        "cause",
    )
    LIST_FILTERS = ("id", "site_id", "state")
    ENUM_FILTERS = {"state": BatchJobState}
    ORDERINGS = ("start_time",)
    UPDATE_IN_BULK = True
    DELETE_BY_QUERY = True

    def filter(self, *values: Any, **filters: Unpack[BatchJobFilters]) -> BatchJobQuery:
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[BatchJobFilters]) -> BatchJob:
        return self.narrowed(filters, values).the_one()

    def order_by(self, field: BatchJobOrdering | str | None) -> BatchJobQuery:
        """`start_time` or `-start_time`."""
        return self.ordered(field)

    def update(self, **values: Unpack[BatchJobUpdates]) -> int:
        return self.change(values)

    def why(self, limit: int | None = None) -> list[BatchJobWhyOut]:
        """Where these BatchJobs stand, or why they ended, of at most `limit`; without one of 100, with a
        warning if there are more.
        """
        return bounded(
            lambda most: [BatchJobWhyOut(**row) for row in self._explanations(most)],
            limit,
            EXPLAINED,
            "why(limit=...) tells of more BatchJobs",
        )


class BatchJobManager(Manager[BatchJob, BatchJobQuery]):
    """`BatchJob.objects`."""

    def create(
        self,
        num_nodes: int,
        wall_time_min: int,
        job_mode: JobMode | str,
        site_id: int | Site,
        project: str,
        queue: str,
        *values: Any,
        **options: Unpack[BatchJobOptions],
    ) -> BatchJob:
        asked = (num_nodes, wall_time_min, job_mode, site_id, project, queue)
        return self.created(BatchJob(*asked, *values, **options))

    def filter(self, *values: Any, **filters: Unpack[BatchJobFilters]) -> BatchJobQuery:
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[BatchJobFilters]) -> BatchJob:
        return self.all().get(*values, **filters)


BatchJob.objects = BatchJobManager(BatchJob, BatchJobQuery)


def _part_text(part: BatchJobPartition) -> str:
    tags = "".join(f":{key}={value}" for key, value in part.filter_tags.items())
    return f"{part.job_mode.value}:{part.num_nodes}{tags}"
