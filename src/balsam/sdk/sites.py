"""Sites: folders on machines where jobs run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack
from uuid import UUID

from balsam.core.clock import UtcDatetime
from balsam.schemas import AllowedQueue, SchedulerBackfillWindow, SchedulerJobStatus
from balsam.schemas.agents import AgentOut
from balsam.schemas.sites import NodeType
from balsam.sdk.fields import FULL, PATH, PLAIN, READ, TAGS, TIME, TREE, UUIDS, Field, schema
from balsam.sdk.model import Model
from balsam.sdk.query import Manager, Query
from balsam.sdk.spelling import in_places


class SiteOptions(TypedDict, total=False):
    globus_endpoint_id: UUID | str | None
    backfill_windows: dict[str, list[SchedulerBackfillWindow]] | None
    queued_jobs: dict[int, SchedulerJobStatus] | None
    optional_batch_job_params: dict[str, str] | None
    allowed_projects: list[str] | None
    allowed_queues: dict[str, AllowedQueue] | None
    transfer_locations: dict[str, str] | None
    nodes: list[NodeType] | None
    moves_files: bool | None


class SiteUpdates(SiteOptions, total=False):
    name: str
    path: str | Path


class SiteFilters(TypedDict, total=False):
    name: str
    path: str | Path
    id: int | Iterable[int]
    last_refresh_after: datetime


class Site(Model):
    """A folder on a machine, with a name unique to its owner, where an agent runs jobs.

    `name` and `path` (absolute) are needed; what the machine allows is filled in by the site's agent.
    """

    ROUTE = "/sites/"
    SHOWN = ("id", "name", "path")
    COLUMNS = ("id", "name", "path", "last_refresh")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "name": Field(FULL, PLAIN),
        "path": Field(FULL, PATH),
        "globus_endpoint_id": Field(FULL, UUIDS),
        "backfill_windows": Field(FULL, schema(dict[str, list[SchedulerBackfillWindow]]), {}),
        "queued_jobs": Field(FULL, schema(dict[int, SchedulerJobStatus]), {}),
        "optional_batch_job_params": Field(FULL, TAGS, {}),
        "allowed_projects": Field(FULL, TREE, []),
        "allowed_queues": Field(FULL, schema(dict[str, AllowedQueue]), {}),
        "transfer_locations": Field(FULL, TAGS, {}),
        "nodes": Field(FULL, schema(list[NodeType])),
        "moves_files": Field(FULL, PLAIN),
        "agent": Field(READ, schema(AgentOut)),
        "last_refresh": Field(READ, TIME),
        "creation_date": Field(READ, TIME),
    }
    objects: ClassVar[SiteManager]

    name: str
    path: Path
    globus_endpoint_id: UUID | None
    backfill_windows: dict[str, list[SchedulerBackfillWindow]]
    queued_jobs: dict[int, SchedulerJobStatus]
    optional_batch_job_params: dict[str, str]
    allowed_projects: list[str]
    allowed_queues: dict[str, AllowedQueue]
    transfer_locations: dict[str, str]
    nodes: list[NodeType] | None
    moves_files: bool | None
    agent: AgentOut | None
    last_refresh: UtcDatetime
    creation_date: UtcDatetime

    def __init__(self, name: str, path: str | Path, *values: Any, **options: Unpack[SiteOptions]) -> None:
        placed = in_places("Site", tuple(SiteOptions.__annotations__), values, options)
        super().__init__(name=name, path=path, **placed, **options)


class SiteQuery(Query[Site]):
    """Sites that match filters."""

    POSITIONS = tuple(SiteFilters.__annotations__)
    FILTERS = ("name", "path", "last_refresh_after")
    LIST_FILTERS = ("id",)

    def filter(self, *values: Any, **filters: Unpack[SiteFilters]) -> SiteQuery:
        """`name` matches exactly, `path` a part."""
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[SiteFilters]) -> Site:
        return self.narrowed(filters, values).the_one()

    def update(self, **values: Unpack[SiteUpdates]) -> int:
        return self.change(values)


class SiteManager(Manager[Site, SiteQuery]):
    """`Site.objects`."""

    def create(self, name: str, path: str | Path, *values: Any, **options: Unpack[SiteOptions]) -> Site:
        return self.created(Site(name, path, *values, **options))

    def filter(self, *values: Any, **filters: Unpack[SiteFilters]) -> SiteQuery:
        """`name` matches exactly, `path` a part."""
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[SiteFilters]) -> Site:
        return self.all().get(*values, **filters)


Site.objects = SiteManager(Site, SiteQuery)
