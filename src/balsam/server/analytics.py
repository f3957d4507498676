"""Series and summaries over HTTP, over the same filters as the queries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from balsam.core.states import JobState
from balsam.logic import analytics
from balsam.schemas.analytics import SeriesOut, SummaryOut
from balsam.schemas.types import Text
from balsam.server.answers import json_answer
from balsam.server.context import Caller, Srv
from balsam.server.queries import BatchJobChoice, BatchJobSelection, EventSelection, JobChoice, JobSelection
from balsam.server.query_strings import documented

router = APIRouter(prefix="/analytics", tags=["analytics"])


class ThroughputQuery(EventSelection):
    """`entered`: the state whose entries are counted; `to_state` is a filter like the others."""

    entered: Text = JobState.job_finished


class UtilizationQuery(EventSelection):
    node_weighting: bool = True


@router.get("/throughput", responses={200: {"model": SeriesOut}})
def throughput(server: Srv, caller: Caller, query: Annotated[ThroughputQuery, Query()]) -> Response:
    with server.db.read() as conn:
        return json_answer(analytics.throughput(conn, caller, query.filter(), query.entered))


@router.get("/utilization", responses={200: {"model": SeriesOut}})
def utilization(server: Srv, caller: Caller, query: Annotated[UtilizationQuery, Query()]) -> Response:
    with server.db.read() as conn:
        return json_answer(analytics.utilization(conn, caller, query.filter(), query.node_weighting))


@router.get(
    "/available-nodes", responses={200: {"model": SeriesOut}}, openapi_extra=documented(BatchJobSelection)
)
def available_nodes(server: Srv, caller: Caller, choice: BatchJobChoice) -> Response:
    with server.db.read() as conn:
        return json_answer(analytics.available_nodes(conn, caller, choice.filter()))


@router.get("/summary", responses={200: {"model": SummaryOut}}, openapi_extra=documented(JobSelection))
def summary(server: Srv, caller: Caller, choice: JobChoice) -> Response:
    """Jobs by state, time in each state, node-hours; over the jobs that the filters choose."""
    with server.db.read() as conn:
        return json_answer(analytics.summary(conn, caller, choice.filter()))
