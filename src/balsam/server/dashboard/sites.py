"""Sites: whether their agents live, and what they offer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.overview import site_health
from balsam.server.dashboard.pages import PageRoute
from balsam.server.dashboard.visitors import Looking

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/sites")
def site_list(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(request, server, visitor, "sites", {"table": site_health})
