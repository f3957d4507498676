"""Apps over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import apps as app_logic
from balsam.logic import jobs as job_logic
from balsam.logic.once import once
from balsam.schemas.apps import (
    AppCreate,
    AppOut,
    AppUpdate,
    AppVersionsOut,
    NewestVersionsOut,
    PaginatedAppsOut,
)
from balsam.server import answers, published
from balsam.server.context import Caller, OnceKey, Srv
from balsam.server.published import IsPublished
from balsam.server.queries import AppIds, AppQuery, Apps, NewestQuery
from balsam.server.query_strings import documented
from balsam.store import app_versions, apps
from balsam.store.paging import next_cursor

router = APIRouter(prefix="/apps", tags=["apps"])
AppId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get("/", responses={200: {"model": PaginatedAppsOut}}, openapi_extra=documented(AppQuery))
def list_apps(server: Srv, caller: Caller, query: Apps, is_published: IsPublished) -> Response:
    page = query.page()
    with query.look(server.db) as conn:
        rows = apps.page(conn, caller, query.filter(), page)
        total = apps.count(conn, caller, query.filter()) if query.counted else None

    def out(row: dict[str, Any]) -> dict[str, Any]:
        return published.app(answers.app(row), is_published=is_published)

    return answers.listing(rows, out, total, next_cursor(rows, page))


@router.post("/", status_code=201, responses={201: {"model": AppOut}})
def create_app(
    server: Srv, caller: Caller, key: OnceKey, body: AppCreate, is_published: IsPublished
) -> Response:
    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, lambda: answers.app(app_logic.register(tx, caller, body)))
        tx.changed(caller.user_id, "apps", body.site_id)
    return answers.json_answer(published.app(answer, is_published=is_published), 201)


@router.get("/newest", responses={200: {"model": NewestVersionsOut}}, openapi_extra=documented(AppIds))
def newest_versions(server: Srv, caller: Caller, query: NewestQuery) -> Response:
    """The number of the newest version of each of these apps, without their classes and sources."""
    with server.db.glance() as conn:
        found = app_versions.current(conn, caller, query.id or [])
    return answers.json_answer({"versions": sorted(found.items())})


@router.get("/{app_id}", responses={200: {"model": AppOut}})
def get_app(server: Srv, caller: Caller, app_id: AppId, is_published: IsPublished) -> Response:
    with server.db.glance() as conn:
        row = apps.get(conn, caller, app_id)
    if row is None:
        raise NotFound("Not found")
    return answers.json_answer(published.app(answers.app(row), is_published=is_published))


@router.put("/{app_id}", responses={200: {"model": AppOut}})
def change_app(
    server: Srv, caller: Caller, app_id: AppId, body: AppUpdate, is_published: IsPublished
) -> Response:
    """A change of its code makes a new version of the app."""
    with server.db.write() as tx:
        app = app_logic.change(tx, caller, app_id, body)
        tx.changed(caller.user_id, "apps", app["site_id"])
    answer = published.app(answers.app(app), is_published=is_published)
    return answers.json_answer({**answer, **{name: app[name] for name in ("restores", "changed")}})


@router.get("/{app_id}/versions", responses={200: {"model": AppVersionsOut}})
def list_versions(server: Srv, caller: Caller, app_id: AppId) -> Response:
    """The app's versions with their sources, the newest first."""
    with server.db.glance() as conn:
        rows = app_versions.of_app(conn, caller, app_id)
    if not rows:
        raise NotFound("Not found")
    found = [
        answers.app_version(row, changed, restores)
        for row, changed, restores in zip(
            rows, app_logic.changes(rows), app_logic.restored(rows), strict=True
        )
    ]
    return answers.json_answer({"count": len(found), "results": found})


@router.delete("/{app_id}", status_code=204)
def delete_app(server: Srv, caller: Caller, app_id: AppId) -> Response:
    """Deletes the app with its jobs and their events."""
    with server.db.write() as tx:
        site_id = job_logic.remove_app(tx, caller, app_id)
        tx.changed(caller.user_id, "apps", site_id)
    return answers.no_content()
