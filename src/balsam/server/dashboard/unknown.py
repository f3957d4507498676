"""The way in, and addresses below the dashboard where nothing is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from balsam.server.dashboard import pages
from balsam.server.dashboard.visitors import FOLDER, root

router = APIRouter(include_in_schema=False)


@router.get("/")
async def way_in(request: Request) -> Response:
    return RedirectResponse(f"{root(request)}{FOLDER}/", 303)


@router.get("/ui/{path:path}")
async def unknown(request: Request, path: str) -> Response:
    return pages.problem(request, 404, "There is no such page.")
