"""Series for charts: those of the REST interface, for the visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from balsam.core.errors import NotFound
from balsam.schemas.analytics import Subject
from balsam.server import analytics
from balsam.server.analytics import Binned, Grouped, RateQuery, UtilizationQuery
from balsam.server.context import Srv
from balsam.server.dashboard.pages import PageRoute
from balsam.server.dashboard.visitors import Looking

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class _Figure(NamedTuple):
    options: type[Grouped]
    answer: Callable[..., Response]


FIGURES = {
    "throughput-rates": _Figure(RateQuery, analytics.throughput_rates),
    "utilization": _Figure(UtilizationQuery, analytics.utilization),
    "available-nodes": _Figure(Binned, analytics.available_nodes),
}


@router.get("/ui/figures/{subject}/{name}")
async def figure(request: Request, server: Srv, visitor: Looking, subject: Subject, name: str) -> Response:
    if name not in FIGURES:
        raise NotFound("there is no such figure")
    found = FIGURES[name]
    asked: Any = await analytics.asked_of(found.options)(request, subject)
    return await run_in_threadpool(found.answer, server, visitor.owner, asked)
