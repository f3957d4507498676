"""Apps: what can be run where, and their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import apps as logic
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store import app_versions, apps, names

router = APIRouter(route_class=PageRoute, include_in_schema=False)
AppId = Annotated[int, Path(ge=0, le=MAX_ID)]
BOUND = 10_000
SHOWN_VERSIONS = 50
LONGEST_COMPARED = 100_000


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

    def history(look: Look) -> dict[str, Any]:
        return {"versions": versions(app_versions.of_app(look.conn, look.owner, app_id)[:SHOWN_VERSIONS])}

    return pages.show(request, server, visitor, "app", {"facts": app, "versions": history})


@dataclass(frozen=True, slots=True)
class Shown:
    """A version as the page shows it. `difference`: of its text to the one before; None for the first."""

    row: Mapping[str, Any]
    changed: list[str] | None
    restores: int | None
    difference: str | None


def versions(rows: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """The newest first, as they come."""
    differences = [difference(old["source_code"], new["source_code"]) for new, old in pairwise(rows)]
    columns = (rows, logic.changes(rows), logic.restored(rows), [*differences, None][: len(rows)])
    return [Shown(*told) for told in zip(*columns, strict=True)]


def difference(old: str, new: str) -> str:
    """As `diff -u` tells it; empty where the texts are the same."""
    if max(len(old), len(new)) > LONGEST_COMPARED:
        return "The texts are too long to be compared here."
    return "".join(unified_diff(old.splitlines(True), new.splitlines(True), "before", "this version"))
