"""Analytics: series and tables that the server computes. What each figure means: docs/analytics.md."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from balsam.core.clock import UtcDatetime
from balsam.schemas.types import Wire

Group = str | int | float | None


def _moment(value: object) -> UtcDatetime:
    if isinstance(value, datetime):
        return UtcDatetime.of(value)
    if type(value) is int:
        return UtcDatetime.of_us(value)
    raise ValueError("is neither a time nor microseconds since 1970")


# Microseconds since 1970 UTC on the wire.
Moment = Annotated[
    UtcDatetime,
    PlainValidator(_moment),
    WithJsonSchema({"type": "integer", "description": "microseconds since 1970 UTC"}),
]


class Subject(StrEnum):
    """What the filters of a request are those of."""

    events = "events"
    jobs = "jobs"
    batch_jobs = "batch-jobs"


class TraceOrder(StrEnum):
    """By start, oldest or newest first; or by how long the run took, the longest first."""

    start = "start"
    start_desc = "-start"
    slowest = "slowest"


class SeriesOut(Wire):
    """A step function: `values[i]` holds from `times_us[i]` (microseconds since 1970 UTC) on."""

    times_us: list[int]
    values: list[float]


class GroupSeriesOut(SeriesOut):
    group: Group


class AnySeriesOut(Wire):
    """One series; or, with `group_by`, one for each group in `groups`."""

    times_us: list[int] | None = None
    values: list[float] | None = None
    groups: list[GroupSeriesOut] | None = None


class StateTimeOut(Wire):
    """Seconds that jobs spent in one state, each stay counted once."""

    state: str
    stays: int
    median_sec: float


class SummaryOut(Wire):
    """Jobs by state, time in each state, and node-hours busy and available over the same jobs."""

    jobs_by_state: dict[str, int]
    state_times: list[StateTimeOut]
    node_hours_busy: float
    node_hours_available: float
    skewed_events: int


class Durations(Wire):
    """Seconds. `skewed`: stays that would be shorter than nothing, by clocks that disagree; they are 0."""

    group: Group
    count: int
    skewed: int
    total_sec: float
    mean_sec: float
    median_sec: float
    p95_sec: float
    p99_sec: float
    max_sec: float


class StateTimes(Durations):
    """How long jobs stay in one state; each stay of each attempt counts by itself."""

    state: str


class NodeHours(Wire):
    """Node-hours of runs (`busy`) and of their allocations (`idle`, `available`); `runs` counts attempts.

    `unplaced`: what was busy and no launcher is known to have had; `busy_fraction` is of the rest.
    """

    group: Group
    runs: int
    busy: float
    idle: float
    available: float
    busy_fraction: float | None
    unplaced: float = 0.0
    cpu_hours: float
    gpu_hours: float


class Failures(Wire):
    """Runs that ended in RUN_ERROR; `runs`: all that ended. The tail is that of the newest failure.

    `mended`: how many of the `jobs` have finished since; `job_ids`: by signature, the newest ten of them.
    """

    group: Group
    failures: int
    jobs: int | None
    mended: int | None = None
    job_ids: list[int] = []
    runs: int | None
    failed_fraction: float | None
    signatures: dict[str, int]
    first: Moment = Field(alias="first_us")
    last: Moment = Field(alias="last_us")
    newest_job_id: int
    newest_tail: str


class FailedJob(Wire):
    """A job that failed for good: out of which state, with which exit of its last run, and what is said."""

    job_id: int
    workdir: str
    app: str
    site: str
    tags: dict[str, str]
    batch_job_id: int | None
    attempts: int
    nodes: list[str]
    failed: Moment = Field(alias="failed_us")
    from_state: str
    return_code: int | None
    tail: str


class Scaling(Wire):
    """Run times (seconds) and throughput of one group; the efficiencies are relative to the first group.

    They are None where groups are no sizes (names, such as those of apps) or their runs are of several apps.
    """

    group: Group
    runs: int
    num_nodes: float
    mean_run_sec: float
    median_run_sec: float
    p95_run_sec: float
    active_hours: float
    per_hour: float | None
    busy_nodes: float | None
    efficiency: float | None
    throughput_efficiency: float | None


class LittlesLaw(Wire):
    """`bound`: throughput times mean run time; `measured`: the mean concurrency from `start` to `end`."""

    group: Group
    start: Moment = Field(alias="start_us")
    end: Moment = Field(alias="end_us")
    runs_ended: int
    per_hour: float | None
    mean_run_sec: float | None
    bound: float | None
    measured: float | None


class Backlog(Wire):
    """Jobs now, and when those that are left will be done at the rate of late; None where nothing ended.

    `never_starting`: jobs beside those that are left, which wait for a job that FAILED or was deleted.
    `rate_since`: from when on the ends were counted of which `ended_per_hour` is made.
    """

    group: Group
    left: int
    never_starting: int = 0
    runnable: int
    running: int
    finished: int
    failed: int
    ended_per_hour: float
    seconds_left: float | None
    done_at: Moment | None = Field(alias="done_at_us")
    rate_since: Moment | None = Field(default=None, alias="rate_since_us")


class Attempt(Wire):
    """One run. `queue_sec`: from when its job became runnable to its start; `tail`: what its end says.

    `app_version`: the version of its app that it ran; None where its launcher did not tell.
    """

    run_id: int
    job_id: int
    attempt: int
    app_version: int | None
    workdir: str
    app: str
    site: str
    tags: dict[str, str]
    batch_job_id: int | None
    scheduler_id: int | None
    session_id: int | None
    nodes: list[str]
    num_nodes: float
    cpus: float | None
    gpus: float | None
    start: Moment = Field(alias="start_us")
    end: Moment | None = Field(alias="end_us")
    queue_sec: float | None
    run_sec: float | None
    end_state: str | None
    return_code: int | None
    signature: str | None
    tail: str


class TraceOut(Wire):
    """`next`: what to send as `after` for the next page; None on the last."""

    results: list[Attempt]
    next: str | None


class Bar(Wire):
    """One run on a node; bars of one lane do not overlap. `end` None: it still goes on."""

    start: Moment = Field(alias="start_us")
    end: Moment | None = Field(alias="end_us")
    run_id: int
    job_id: int
    app: str
    end_state: str | None
    lane: int


class NodeTimeline(Wire):
    """The runs on one node, by start; the node of runs whose launcher named none is an empty text."""

    node: str
    bars: list[Bar]
