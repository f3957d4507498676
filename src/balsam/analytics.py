"""What happened, how fast, and how well the nodes were used; the server computes it over a query's filters.

    from balsam.analytics import available_nodes, throughput_report, utilization_report

    plt.step(*utilization_report(EventLog.objects.filter(tags={"experiment": "foo"})), where="post")

Series are two lists: times (UTC, ascending) and the value that holds from each time on; `([], [])` where
nothing matches. Where something still runs, one point at the window's end or now closes the series. With
`bins` they have at most so many values, for equal parts of the window. With `group_by` there is a series for
each group: `site`, `app`, `project`, `queue`, `batch_job`, `job` or `tag:KEY` (those of `available_nodes` are
made of whole allocations: `site`, `project`, `queue`, `batch_job`).

All take a query of EventLog, Job or BatchJob, and a window: `timestamp_after`, `timestamp_before`. Tables
have one row for each group, which is None for all together and for what has no such tag or allocation.

Raises ValueError for a slice of a query, TypeError for what is no query, and ServerRefused for an option that
the server does not know, with those that it knows. Each figure's meaning: docs/analytics.md.

`plot_*` draw the same by matplotlib (the extra `plot`) into `ax`, else into the current axis; they return it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from balsam.core.clock import UtcDatetime
from balsam.core.states import JobState
from balsam.schemas.analytics import (
    Attempt,
    Backlog,
    Durations,
    FailedJob,
    Failures,
    Group,
    LittlesLaw,
    NodeHours,
    NodeTimeline,
    Scaling,
    StateTimes,
    SummaryOut,
)
from balsam.sdk import slow_reports
from balsam.sdk.batch_jobs import BatchJob, BatchJobQuery
from balsam.sdk.bounded import bounded
from balsam.sdk.events import EventLog, EventLogQuery
from balsam.sdk.figures import (
    AnyQuery,
    Series,
    Window,
    ask,
    must_be_whole,
    series,
    series_by_group,
    table,
)
from balsam.sdk.jobs import JobQuery
from balsam.sdk.totals import totals

if TYPE_CHECKING:
    from balsam.report.plots import (
        plot_available_nodes,
        plot_failures,
        plot_node_hours,
        plot_state_times,
        plot_throughput,
        plot_throughput_rates,
        plot_timeline,
        plot_utilization,
    )

__all__ = [
    "available_nodes",
    "backlog",
    "each_attempt",
    "failed_jobs",
    "failures",
    "littles_law",
    "node_hours",
    "plot_available_nodes",
    "plot_failures",
    "plot_node_hours",
    "plot_state_times",
    "plot_throughput",
    "plot_throughput_rates",
    "plot_timeline",
    "plot_utilization",
    "run_delays",
    "scaling",
    "state_times",
    "summary",
    "throughput_rates",
    "throughput_report",
    "timeline",
    "totals",
    "trace",
    "utilization_report",
]

Unit = Literal["job", "node", "cpu", "gpu"]
Counts = tuple[list[UtcDatetime], list[int]]
MAX_PAGE = 10_000
TIMELINE_RUNS = 10_000
FAILED_JOBS = 100  # of which `failed_jobs()` tells where nobody says of how many
log = logging.getLogger(__name__)
QUERIES = (EventLogQuery, JobQuery, BatchJobQuery)


@overload
def throughput_report(
    log_query: AnyQuery | Iterable[EventLog],
    to_state: JobState | str = ...,
    *,
    bins: int | None = ...,
    group_by: None = ...,
    **window: Unpack[Window],
) -> Counts: ...
@overload
def throughput_report(
    log_query: AnyQuery,
    to_state: JobState | str = ...,
    *,
    bins: int | None = ...,
    group_by: str,
    **window: Unpack[Window],
) -> dict[Group, Counts]: ...
def throughput_report(
    log_query: Any,
    to_state: JobState | str = JobState.job_finished,
    *,
    bins: int | None = None,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Any:
    """How many events entered `to_state`: one point for each, counts 1, 2, 3 ...

    With `bins`, one point at the end of each: how many had by then.
    """
    state = JobState(to_state).value
    if _is_list(log_query, bins, group_by, window):
        return slow_reports.throughput(log_query, state)
    return _series(log_query, "throughput", group_by, entered=state, bins=bins, **window)


@overload
def throughput_rates(
    query: AnyQuery,
    to_state: JobState | str = ...,
    *,
    bins: int = ...,
    group_by: None = ...,
    **window: Unpack[Window],
) -> Series: ...
@overload
def throughput_rates(
    query: AnyQuery,
    to_state: JobState | str = ...,
    *,
    bins: int = ...,
    group_by: str,
    **window: Unpack[Window],
) -> dict[Group, Series]: ...
def throughput_rates(
    query: AnyQuery,
    to_state: JobState | str = JobState.job_finished,
    *,
    bins: int = 100,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Any:
    """Events per hour that entered `to_state`, in each bin."""
    return _series(query, "throughput-rates", group_by, entered=JobState(to_state).value, bins=bins, **window)


@overload
def utilization_report(
    log_query: AnyQuery | Iterable[EventLog],
    node_weighting: bool = ...,
    *,
    unit: Unit | None = ...,
    bins: int | None = ...,
    group_by: None = ...,
    **window: Unpack[Window],
) -> Series: ...
@overload
def utilization_report(
    log_query: AnyQuery,
    node_weighting: bool = ...,
    *,
    unit: Unit | None = ...,
    bins: int | None = ...,
    group_by: str,
    **window: Unpack[Window],
) -> dict[Group, Series]: ...
def utilization_report(
    log_query: Any,
    node_weighting: bool = True,
    *,
    unit: Unit | None = None,
    bins: int | None = None,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Any:
    """Nodes that runs keep busy; or, without weighting, how many runs go on at a time.

    A run of one node counts as the share of it that the job asked for. Several runs of one job count
    separately; one that began before the query's window counts from the window's start. `unit` counts runs
    (`job`), nodes, CPU cores (`cpu`) or GPUs instead. With `bins`, the mean of each.
    """
    if _is_list(log_query, bins, group_by, window) and unit is None:
        return slow_reports.utilization(log_query, node_weighting)
    wanted = unit or ("node" if node_weighting else "job")
    return _series(log_query, "utilization", group_by, unit=wanted, bins=bins, **window)


@overload
def available_nodes(
    batch_job_query: AnyQuery | Iterable[BatchJob],
    *,
    bins: int | None = ...,
    group_by: None = ...,
    **window: Unpack[Window],
) -> Series: ...
@overload
def available_nodes(
    batch_job_query: AnyQuery, *, bins: int | None = ..., group_by: str, **window: Unpack[Window]
) -> dict[Group, Series]: ...
def available_nodes(
    batch_job_query: Any,
    *,
    bins: int | None = None,
    group_by: str | None = None,
    **window: Unpack[Window],
) -> Any:
    """Nodes on which launchers were there to run jobs; with `bins`, the mean of each.

    A query of jobs or events means the allocations in which their runs ran.
    """
    if _is_list(batch_job_query, bins, group_by, window):
        return slow_reports.available_nodes(batch_job_query)
    return _series(batch_job_query, "available-nodes", group_by, bins=bins, **window)


def node_hours(query: AnyQuery, group_by: str | None = None, **window: Unpack[Window]) -> list[NodeHours]:
    """Node-hours busy and idle, CPU and GPU hours.

    Idle is what the allocations of these runs had and no run used. Groups that share allocations (by app,
    tag ...) share it by the node-hours that each kept busy there.
    """
    return table(query, "node-hours", NodeHours, group_by=group_by, **window)


def state_times(query: AnyQuery, group_by: str | None = None, **window: Unpack[Window]) -> list[StateTimes]:
    """How long jobs stay in each state: median, 95 and 99 % of the stays that ended in the window.

    Each stay of each attempt counts by itself; `group_by="attempt"` tells first runs from restarts.
    Quantiles have straight lines between values (method 7 of Hyndman and Fan, 1996; numpy's default).
    """
    return table(query, "state-times", StateTimes, group_by=group_by, **window)


def run_delays(query: AnyQuery, group_by: str | None = None, **window: Unpack[Window]) -> list[Durations]:
    """How long runs waited for nodes: from when the job became runnable to the start of the run.

    Of runs that started in the window; also by `num_nodes` and `attempt`.
    """
    return table(query, "run-delays", Durations, group_by=group_by, **window)


def failures(query: AnyQuery, group_by: str = "signature", **window: Unpack[Window]) -> list[Failures]:
    """Runs that ended in RUN_ERROR in the window, the most frequent group first.

    A signature is the return code and the line of the output that tells why, with `#` for numbers and
    without folders. Other groups (`host`, `app`, `batch_job`, `num_nodes`, `tag:KEY` ...) also tell which
    share of their runs failed.
    """
    return table(query, "failures", Failures, group_by=group_by, **window)


def failed_jobs(query: AnyQuery, *, limit: int | None = None, **window: Unpack[Window]) -> list[FailedJob]:
    """The newest jobs that failed for good in the window, in whichever state; `limit` at most.

    Without a limit 100, with a warning if there are more.
    """
    return bounded(
        lambda most: table(query, "failed-jobs", FailedJob, limit=most, **window),
        limit,
        FAILED_JOBS,
        "failed_jobs(limit=...) tells of more, and failures() of all runs by signature",
    )


def scaling(query: AnyQuery, group_by: str = "num_nodes", **window: Unpack[Window]) -> list[Scaling]:
    """Run times and throughput of runs that ended well, by their nodes, or by `allocation_nodes` or a tag.

    Weak scaling: `efficiency` is the first (smallest) group's median run time over the group's;
    `throughput_efficiency` compares runs per hour and busy node.
    """
    return table(query, "scaling", Scaling, group_by=group_by, **window)


def littles_law(
    query: AnyQuery, group_by: str | None = None, *, unit: Unit = "node", **window: Unpack[Window]
) -> list[LittlesLaw]:
    """Throughput times mean run time, beside the mean concurrency that was measured (J. D. C. Little, 1961).

    Weighted by the nodes, CPU cores or GPUs of each run; `unit="job"` counts runs. The two agree where all
    runs begin and end in the window.
    """
    return table(query, "littles-law", LittlesLaw, group_by=group_by, unit=unit, **window)


def backlog(query: AnyQuery, group_by: str | None = None, **window: Unpack[Window]) -> list[Backlog]:
    """Jobs that are left, and when they will be done at the rate of the window, or else of the last hour."""
    return table(query, "backlog", Backlog, group_by=group_by, **window)


def trace(
    query: AnyQuery,
    *,
    end_state: JobState | str | Iterable[JobState | str] | None = None,
    order: Literal["start", "-start", "slowest"] = "start",
    limit: int | None = None,
    **window: Unpack[Window],
) -> list[Attempt]:
    """One row for each attempt of each job; `limit` rows at most.

    `slowest` has the longest runs first, and 10,000 at most.
    """
    return list(each_attempt(query, end_state=end_state, order=order, limit=limit, **window))


def each_attempt(
    query: AnyQuery,
    *,
    end_state: JobState | str | Iterable[JobState | str] | None = None,
    order: Literal["start", "-start", "slowest"] = "start",
    limit: int | None = None,
    **window: Unpack[Window],
) -> Iterator[Attempt]:
    """`trace`, page by page: however many there are, one page is held at a time."""
    return islice(_attempts(query, limit, end_state=_states(end_state), order=order, **window), limit)


def timeline(query: AnyQuery, *, limit: int | None = None, **window: Unpack[Window]) -> list[NodeTimeline]:
    """The newest runs, `limit` at most, as bars on the nodes where they ran.

    Without a limit 10,000, with a warning if there may be more.
    """
    nodes = table(query, "timeline", NodeTimeline, limit=limit or TIMELINE_RUNS, **window)
    if limit is None and len({bar.run_id for node in nodes for bar in node.bars}) >= TIMELINE_RUNS:
        log.warning(
            "these are the newest %s runs only; timeline(limit=...) tells of more", f"{TIMELINE_RUNS:,}"
        )
    return nodes


def summary(job_query: JobQuery) -> SummaryOut:
    """Jobs by state, median time in each state, and node-hours busy and available, over the same jobs."""
    must_be_whole(job_query)
    if job_query.matches_nothing:
        return SummaryOut(
            jobs_by_state={}, state_times=[], node_hours_busy=0, node_hours_available=0, skewed_events=0
        )
    return SummaryOut(**job_query.client().get("/analytics/summary", job_query.filters))


def _attempts(query: AnyQuery, limit: int | None, **options: Any) -> Iterator[Attempt]:
    after: str | None = None
    size = MAX_PAGE if limit is None else max(1, min(limit, MAX_PAGE))
    while True:
        page = ask(query, "trace", {"results": [], "next": None}, limit=size, after=after, **options)
        yield from (Attempt(**row) for row in page["results"])
        after = page["next"]
        if after is None:
            return


def _states(states: JobState | str | Iterable[JobState | str] | None) -> list[str] | None:
    if states is None:
        return None
    return [JobState(one).value for one in ([states] if isinstance(states, str) else states)]


def _series(query: AnyQuery, figure: str, group_by: str | None, **options: Any) -> Any:
    if group_by is None:
        return series(query, figure, **options)
    return series_by_group(query, figure, group_by, **options)


def _is_list(query: object, bins: int | None, group_by: str | None, window: Window) -> bool:
    """Whether it is no query, and nothing is asked that needs one."""
    return not isinstance(query, QUERIES) and bins is None and group_by is None and not window


if not TYPE_CHECKING:  # the names above tell a type checker what there is

    def __getattr__(name: str) -> Any:
        """The plots, which nobody needs who does not draw."""
        if name.startswith("plot_"):
            from balsam.report import plots

            if name in plots.__all__:
                return getattr(plots, name)
        raise AttributeError(f"module 'balsam.analytics' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """What users may rely on, and nothing that this module imports for itself."""
        return sorted(__all__)
