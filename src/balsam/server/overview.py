"""Counts of jobs by group, and what a live view shows, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from balsam.logic import overview
from balsam.schemas.overview import JobCount, OverviewOut
from balsam.schemas.types import Text
from balsam.server.answers import json_answer
from balsam.server.context import Caller, Srv
from balsam.server.queries import JobSelection
from balsam.server.query_strings import documented, of_query
from balsam.store import overview as overview_store

router = APIRouter(tags=["overview"])


class CountQuery(JobSelection):
    """`group_by`: site, app, tag:KEY and others of docs/analytics.md; without it, by state alone."""

    group_by: Text | None = None


Counts = Annotated[CountQuery, Depends(of_query(CountQuery))]


@router.get("/jobs/counts", responses={200: {"model": list[JobCount]}}, openapi_extra=documented(CountQuery))
def count_jobs(server: Srv, caller: Caller, query: Counts) -> Response:
    """How many of the chosen jobs are in which state, by group."""
    with server.db.read() as conn:
        rows = overview_store.jobs_by_group(conn, caller, query.filter(), query.group_by)
    return json_answer([{"group": group, "state": state, "count": count} for group, state, count in rows])


@router.get("/overview", responses={200: {"model": OverviewOut}})
def look(server: Srv, caller: Caller) -> Response:
    """Sites with their health, allocations, jobs by state, rates and failures of late."""
    with server.db.read() as conn:
        return json_answer(overview.look(conn, caller))
