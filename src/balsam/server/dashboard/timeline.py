"""Which run was on which node, or of which launcher, when."""

from __future__ import annotations

import gzip
from enum import StrEnum
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from balsam.core.clock import now_us
from balsam.core.limits import MAX_ID
from balsam.logic import lanes
from balsam.schemas.types import Wire
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.choice import Choice
from balsam.server.dashboard.jobs import filters
from balsam.server.dashboard.pages import PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store import runs_of_windows
from balsam.store.scope import Scope

router = APIRouter(route_class=PageRoute, include_in_schema=False)
MAX_RUNS = 100_000


class By(StrEnum):
    node = "node"
    launcher = "launcher"


class WindowQuery(Wire):
    """`after` and `before`: microseconds since 1970, the whole where they are missing; `bins`: pixels."""

    after: int | None = Field(default=None, ge=0, le=MAX_ID)
    before: int | None = Field(default=None, ge=0, le=MAX_ID)
    bins: int = Field(default=1_000, ge=10, le=4_000)
    by: By = By.node


@router.get("/ui/timeline")
def timeline_page(request: Request, server: Srv, visitor: Looking) -> Response:
    by = request.query_params.get("by", "")
    return pages.show(
        request,
        server,
        visitor,
        "timeline",
        {},
        frame=filters,
        choice=Choice.shown(request.query_params),
        by=by if by in list(By) else By.node,
    )


@router.get("/ui/timeline/bars")
def bars(
    request: Request, server: Srv, visitor: Looking, window: Annotated[WindowQuery, Query()]
) -> Response:
    """The runs of a window as bars; those that would be narrower than a pixel are drawn together."""
    chosen = Choice.shown(request.query_params).selection.filter()
    with server.db.read() as conn:
        scope = Scope.of(conn, visitor.owner, chosen, window.after, window.before, now=now_us())
        runs = runs_of_windows.newest(conn, scope, MAX_RUNS + 1)
        is_cut = len(runs) > MAX_RUNS
    by_launcher = window.by is By.launcher
    answer = lanes.binned(
        runs[:MAX_RUNS], window.after, window.before, scope.now, window.bins, by_launcher=by_launcher
    )
    told = orjson.dumps({**answer, "is_cut": is_cut})
    headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(told, media_type="application/json")
    return Response(gzip.compress(told, 1), headers=headers, media_type="application/json")
