"""Series and tables over HTTP, over the filters of events, jobs or BatchJobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from balsam.core.clock import now_us, to_us
from balsam.core.limits import MAX_BULK_ITEMS_ACCEPTED
from balsam.core.states import JobState
from balsam.logic import analytics, durations, efficiency, traces
from balsam.logic import failures as failure_logic
from balsam.schemas.analytics import (
    AnySeriesOut,
    Backlog,
    Durations,
    FailedJob,
    Failures,
    LittlesLaw,
    NodeHours,
    NodeTimeline,
    Scaling,
    StateTimes,
    Subject,
    SummaryOut,
    TraceOrder,
    TraceOut,
)
from balsam.schemas.types import Text, UtcTime, Wire
from balsam.server.answers import json_answer
from balsam.server.context import Caller, Server, Srv
from balsam.server.queries import (
    BatchJobSelection,
    EventSelection,
    JobChoice,
    JobSelection,
)
from balsam.server.query_strings import documented, documented_all, of_query
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.figures import Unit
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.scope import Scope
from balsam.store.traces import Attempts

router = APIRouter(prefix="/analytics", tags=["analytics"])
MAX_BINS = 10_000
SELECTIONS: dict[Subject, type[EventSelection | JobSelection | BatchJobSelection]] = {
    Subject.events: EventSelection,
    Subject.jobs: JobSelection,
    Subject.batch_jobs: BatchJobSelection,
}


class Grouped(Wire):
    """`group_by`: site, app, project, queue, batch_job, job, tag:KEY and more; see docs/analytics.md."""

    timestamp_before: UtcTime | None = None
    timestamp_after: UtcTime | None = None
    group_by: Text | None = None


class Binned(Grouped):
    """`bins`: as many equal parts of the window instead of every change."""

    bins: int | None = Field(default=None, ge=1, le=MAX_BINS)


class ThroughputQuery(Binned):
    """`entered`: the state whose entries are counted; `to_state` is a filter of events like the others."""

    entered: Text = JobState.job_finished


class RateQuery(ThroughputQuery):
    bins: int = Field(default=100, ge=1, le=MAX_BINS)


class UtilizationQuery(Binned):
    """`unit`: what is counted, runs (`job`), nodes, CPU cores or GPUs."""

    unit: Unit = Unit.node


class LawQuery(Grouped):
    unit: Unit = Unit.node


class FailureQuery(Grouped):
    group_by: Text = "signature"


class FailedJobsQuery(Grouped):
    limit: int = Field(default=100, ge=1, le=MAX_BULK_ITEMS_ACCEPTED)


class ScalingQuery(Grouped):
    group_by: Text = "num_nodes"


class TraceQuery(Grouped):
    """`after`: the `next` of the page before. `end_state`: only runs that ended so."""

    end_state: list[Text] | None = None
    order: TraceOrder = TraceOrder.start
    limit: int = Field(default=1_000, ge=1, le=MAX_BULK_ITEMS_ACCEPTED)
    after: Text | None = None


class TimelineQuery(Grouped):
    limit: int = Field(default=10_000, ge=1, le=100_000)


Options = TypeVar("Options", bound=Grouped)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Options]):
    """A request's filters and the options of its figure."""

    filter: EventFilter | JobFilter | BatchJobFilter
    options: Options

    def answer(
        self, server: Server, caller: Owner, figure: Callable[[Connection, Scope, Options], Any]
    ) -> Response:
        """`figure` is asked on one snapshot."""
        window = [
            None if moment is None else to_us(moment)
            for moment in (self.options.timestamp_after, self.options.timestamp_before)
        ]
        with server.db.read() as conn:
            scope = Scope.of(conn, caller, self.filter, *window, now=now_us())
            return json_answer(figure(conn, scope, self.options))


def _asked(options: type[Options]) -> Callable[[Request, Subject], Awaitable[Asked[Options]]]:
    parse_options = of_query(options)
    parse_selection = {subject: of_query(model) for subject, model in SELECTIONS.items()}

    async def parse(request: Request, subject: Subject) -> Asked[Options]:
        selection = await parse_selection[subject](request)
        return Asked(selection.filter(), await parse_options(request))

    return parse


def _told(options: type[Grouped], answer: Any) -> dict[str, Any]:
    """What the API's document says of a figure."""
    return {
        "responses": {200: {"model": answer}},
        "openapi_extra": documented_all(options, *SELECTIONS.values()),
    }


@router.get("/{subject}/throughput", **_told(ThroughputQuery, AnySeriesOut))
def throughput(
    server: Srv, caller: Caller, asked: Annotated[Asked[ThroughputQuery], Depends(_asked(ThroughputQuery))]
) -> Response:
    """Entries to a state, counted: every one, or at the end of each bin."""
    return asked.answer(
        server,
        caller,
        lambda conn, scope, o: analytics.throughput(conn, scope, o.entered, o.group_by, o.bins),
    )


@router.get("/{subject}/throughput-rates", **_told(RateQuery, AnySeriesOut))
def throughput_rates(
    server: Srv, caller: Caller, asked: Annotated[Asked[RateQuery], Depends(_asked(RateQuery))]
) -> Response:
    """Entries to a state per hour, in each bin."""
    return asked.answer(
        server,
        caller,
        lambda conn, scope, o: analytics.throughput_rates(conn, scope, o.entered, o.group_by, o.bins),
    )


@router.get("/{subject}/utilization", **_told(UtilizationQuery, AnySeriesOut))
def utilization(
    server: Srv, caller: Caller, asked: Annotated[Asked[UtilizationQuery], Depends(_asked(UtilizationQuery))]
) -> Response:
    """What runs keep busy: every change, or the mean of each bin."""
    return asked.answer(
        server, caller, lambda conn, scope, o: analytics.utilization(conn, scope, o.unit, o.group_by, o.bins)
    )


@router.get("/{subject}/available-nodes", **_told(Binned, AnySeriesOut))
def available_nodes(
    server: Srv, caller: Caller, asked: Annotated[Asked[Binned], Depends(_asked(Binned))]
) -> Response:
    """Nodes on which launchers were there: every change, or the mean of each bin."""
    return asked.answer(
        server, caller, lambda conn, scope, o: analytics.available_nodes(conn, scope, o.group_by, o.bins)
    )


@router.get("/{subject}/node-hours", **_told(Grouped, list[NodeHours]))
def node_hours(
    server: Srv, caller: Caller, asked: Annotated[Asked[Grouped], Depends(_asked(Grouped))]
) -> Response:
    """Node-hours busy and idle."""
    return asked.answer(server, caller, lambda conn, scope, o: efficiency.node_hours(conn, scope, o.group_by))


@router.get("/{subject}/state-times", **_told(Grouped, list[StateTimes]))
def state_times(
    server: Srv, caller: Caller, asked: Annotated[Asked[Grouped], Depends(_asked(Grouped))]
) -> Response:
    """How long jobs stay in each state."""
    return asked.answer(server, caller, lambda conn, scope, o: durations.state_times(conn, scope, o.group_by))


@router.get("/{subject}/run-delays", **_told(Grouped, list[Durations]))
def run_delays(
    server: Srv, caller: Caller, asked: Annotated[Asked[Grouped], Depends(_asked(Grouped))]
) -> Response:
    """From when jobs became runnable to the start of their runs."""
    return asked.answer(server, caller, lambda conn, scope, o: durations.run_delays(conn, scope, o.group_by))


@router.get("/{subject}/failures", **_told(FailureQuery, list[Failures]))
def failures(
    server: Srv, caller: Caller, asked: Annotated[Asked[FailureQuery], Depends(_asked(FailureQuery))]
) -> Response:
    """Failed runs by what they have in common, the most frequent first."""
    return asked.answer(
        server, caller, lambda conn, scope, o: failure_logic.failures(conn, scope, o.group_by)
    )


@router.get("/{subject}/failed-jobs", **_told(FailedJobsQuery, list[FailedJob]))
def failed_jobs(
    server: Srv, caller: Caller, asked: Annotated[Asked[FailedJobsQuery], Depends(_asked(FailedJobsQuery))]
) -> Response:
    """The newest jobs that failed for good."""
    return asked.answer(
        server, caller, lambda conn, scope, o: failure_logic.failed_jobs(conn, scope, o.limit)
    )


@router.get("/{subject}/scaling", **_told(ScalingQuery, list[Scaling]))
def scaling(
    server: Srv, caller: Caller, asked: Annotated[Asked[ScalingQuery], Depends(_asked(ScalingQuery))]
) -> Response:
    """Run times and throughput of groups beside the first."""
    return asked.answer(server, caller, lambda conn, scope, o: efficiency.scaling(conn, scope, o.group_by))


@router.get("/{subject}/littles-law", **_told(LawQuery, list[LittlesLaw]))
def littles_law(
    server: Srv, caller: Caller, asked: Annotated[Asked[LawQuery], Depends(_asked(LawQuery))]
) -> Response:
    """Throughput times run time beside the concurrency that was measured."""
    return asked.answer(
        server, caller, lambda conn, scope, o: efficiency.littles_law(conn, scope, o.group_by, o.unit)
    )


@router.get("/{subject}/backlog", **_told(Grouped, list[Backlog]))
def backlog(
    server: Srv, caller: Caller, asked: Annotated[Asked[Grouped], Depends(_asked(Grouped))]
) -> Response:
    """Jobs that are left, and when they will be done."""
    return asked.answer(server, caller, lambda conn, scope, o: efficiency.backlog(conn, scope, o.group_by))


@router.get("/{subject}/timeline", **_told(TimelineQuery, list[NodeTimeline]))
def timeline(
    server: Srv, caller: Caller, asked: Annotated[Asked[TimelineQuery], Depends(_asked(TimelineQuery))]
) -> Response:
    """The newest runs as bars on their nodes."""
    return asked.answer(server, caller, lambda conn, scope, o: traces.timeline(conn, scope, o.limit))


@router.get("/{subject}/trace", **_told(TraceQuery, TraceOut))
def trace(
    server: Srv, caller: Caller, asked: Annotated[Asked[TraceQuery], Depends(_asked(TraceQuery))]
) -> Response:
    """A row for each attempt."""

    def rows(conn: Connection, scope: Scope, o: TraceQuery) -> dict[str, Any]:
        wanted = Attempts(o.end_state, o.order, o.limit, o.after, scope.now)
        found, following = traces.trace(conn, scope, wanted)
        return {"results": found, "next": following}

    return asked.answer(server, caller, rows)


@router.get("/summary", responses={200: {"model": SummaryOut}}, openapi_extra=documented(JobSelection))
def summary(server: Srv, caller: Caller, choice: JobChoice) -> Response:
    """Jobs by state, time in each state, node-hours; over the jobs that the filters choose."""
    with server.db.read() as conn:
        return json_answer(analytics.summary(conn, caller, choice.filter()))
