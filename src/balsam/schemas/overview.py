"""Everything that a live view shows of a user's sites, allocations and jobs, in one answer."""

from __future__ import annotations

from pydantic import Field

from balsam.schemas.analytics import Moment
from balsam.schemas.types import Wire


class JobCount(Wire):
    """How many jobs of a group are in a state; the group is None where the jobs have none."""

    group: str | int | None
    state: str
    count: int


class SiteView(Wire):
    """A site, its agent's health in a sentence, its jobs by state, and moves per minute of late."""

    id: int
    name: str
    path: str
    agent_alive: bool
    health: str
    jobs_by_state: dict[str, int]
    started_per_min: float
    finished_per_min: float
    failed_per_min: float


class AllocationView(Wire):
    """A BatchJob that has not ended."""

    id: int
    site_id: int
    state: str
    num_nodes: int
    queue: str
    project: str
    job_mode: str
    scheduler_id: int | None
    minutes_left: float


class FailureCause(Wire):
    """Failures of late with the same cause, and the newest of their jobs."""

    site_id: int
    signature: str
    count: int
    newest_job_id: int
    last: Moment = Field(alias="last_us")
    tail: str


class OverviewOut(Wire):
    """`failures`: of the last `failure_window_sec` seconds and the newest `failures_read`, most first."""

    sites: list[SiteView]
    allocations: list[AllocationView]
    failures: list[FailureCause]
    failure_window_sec: float
    failures_read: int
