"""Apps: what can be run where, and their sources."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store import apps, names

router = APIRouter(route_class=PageRoute, include_in_schema=False)
AppId = Annotated[int, Path(ge=0, le=MAX_ID)]
BOUND = 10_000


@router.get("/ui/apps")
def app_list(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(request, server, visitor, "apps", {"table": table})


def table(look: Look) -> dict[str, Any]:
    known = names.of_apps(look.conn, look.owner)
    return {
        "apps": list(known.values()),
        "site_names": names.of_sites(look.conn, look.owner),
        "counts": names.jobs_by_app(look.conn, look.owner, known, BOUND + 1),
        "bound": BOUND,
    }


@router.get("/ui/apps/{app_id}")
def app_page(request: Request, server: Srv, visitor: Looking, app_id: AppId) -> Response:
    def app(look: Look) -> dict[str, Any]:
        row = apps.get(look.conn, look.owner, app_id)
        if row is None:
            raise NotFound("Not found")
        return {"app": row, "site_name": names.of_sites(look.conn, look.owner).get(row["site_id"], "")}

    return pages.show(request, server, visitor, "app", {"facts": app})
