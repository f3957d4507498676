"""Sessions: leases on jobs."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from balsam.core.endings import EndCode
from balsam.core.limits import MAX_BULK_ITEMS_ACCEPTED, MAX_JOBS_PER_SESSION_ACQUIRE
from balsam.core.states import REPORTED_MOVES, RUNNABLE_STATES, JobState
from balsam.schemas.jobs import INT32
from balsam.schemas.sites import NodeTypes
from balsam.schemas.types import Id, Int64, Report, Tags, Text, UtcTime, Wire


class Takes(Wire):
    """What a launcher takes beyond what its BatchJob says: kinds of its nodes, tags that jobs must have."""

    nodes: NodeTypes = Field(default_factory=list)
    filter_tags: Tags = Field(default_factory=dict)


class SessionCreate(Wire):
    """`fenced`: state changes of held jobs must name the session; ours are, the published client's not.

    `num_nodes`: nodes that the launcher places jobs on; 0 for an agent, whose session runs hooks only.
    """

    site_id: Id
    batch_job_id: Id | None = None
    fenced: bool = False
    partition: int | None = Field(default=None, ge=0, le=INT32)
    num_nodes: int | None = Field(default=None, ge=0, le=INT32)
    started: UtcTime | None = None
    takes: Takes | None = None


class SessionOut(Wire):
    id: Id
    site_id: int
    batch_job_id: int | None
    heartbeat: str
    fenced: bool
    partition: int | None
    num_nodes: int | None
    started: str
    ended: str | None
    lease_sec: float
    ending: dict[str, Any] | None = None


class PaginatedSessionsOut(Wire):
    count: int | None
    results: list[SessionOut]


class BusyHook(Wire):
    """A hook that runs, and since when: by the server's clock, as far as the agent knows it."""

    job_id: Id
    since_us: Id


class SessionTick(Wire):
    """A heartbeat. `digest`: `core.digest.of_ids` of all jobs that the session believes it holds.

    Where it differs from the server's, the answer has `in_step` False, and the session sends the ids
    themselves: the server frees what it does not name. `busy`: the hooks that an agent runs now. `trouble`:
    which nodes start nothing for the moment, or that an agent can begin no hook, and why; empty when it is
    over. `clock_ahead_us`: how far the host's clock is ahead of the server's.
    """

    digest: str | None = None
    job_ids: list[Id] | None = None
    busy: list[BusyHook] | None = Field(default=None, max_length=1_000)
    trouble: Report | None = None
    clock_ahead_us: Int64 | None = None


class SessionTickOut(Wire):
    """`job_ids`: of those named, the ones that the session still holds; the others are to be killed."""

    in_step: bool
    job_ids: list[int] | None
    server_time_us: int


class SessionEnding(Wire):
    """Why a launcher ended. `cut`: runs that it ended before their time."""

    code: EndCode
    sentence: Report
    cut: int = Field(default=0, ge=0, le=INT32)


class SessionDeath(Wire):
    """A launcher is dead; `job_id`: which job it was preparing or starting then."""

    job_id: Id


def _acquirable(states: set[JobState]) -> set[JobState]:
    """A session holds what it moves on: not what is done, running, or the server's to move."""
    held = states - REPORTED_MOVES.keys() | states & {JobState.running}
    if held:
        raise ValueError(f"{', '.join(sorted(held))}: jobs in these states can't be acquired")
    return states


class SessionAcquire(Wire):
    max_num_jobs: int = Field(ge=1, le=MAX_JOBS_PER_SESSION_ACQUIRE)
    max_wall_time_min: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_nodes_per_job: int | None = Field(default=None, ge=0, le=INT32)
    gpus_per_node: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    mem_mb_per_node: int | None = Field(default=None, ge=0, le=2**53)
    max_aggregate_nodes: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    serial_only: bool = False
    sort_by: Text | None = None
    filter_tags: Tags = Field(default_factory=dict)
    states: Annotated[set[JobState], AfterValidator(_acquirable)] = Field(
        default_factory=lambda: set(RUNNABLE_STATES)
    )
    app_ids: set[Id] = Field(default_factory=set, max_length=MAX_BULK_ITEMS_ACCEPTED)
