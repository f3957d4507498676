"""Apps over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from balsam.core.errors import Conflict, NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import jobs as job_logic
from balsam.logic.once import once
from balsam.schemas.apps import AppCreate, AppOut, AppUpdate, PaginatedAppsOut
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Srv
from balsam.server.queries import AppQuery, Apps
from balsam.server.query_strings import documented
from balsam.store import apps, jobs, sessions, sites
from balsam.store.apps import AppFilter
from balsam.store.database import Tx
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page, next_cursor

router = APIRouter(prefix="/apps", tags=["apps"])
AppId = Annotated[int, Path(ge=0, le=MAX_ID)]
# May be null on purpose: "all hooks may exist", "unknown serializer".
_NULLABLE = {"hooks", "serializer"}


@router.get("/", responses={200: {"model": PaginatedAppsOut}}, openapi_extra=documented(AppQuery))
def list_apps(server: Srv, caller: Caller, query: Apps) -> Response:
    page = query.page()
    with query.look(server.db) as conn:
        rows = apps.page(conn, caller, query.filter(), page)
        total = apps.count(conn, caller, query.filter()) if query.counted else None
    return answers.listing(rows, answers.app, total, next_cursor(rows, page))


@router.post("/", status_code=201, responses={201: {"model": AppOut}})
def create_app(server: Srv, caller: Caller, key: OnceKey, body: AppCreate) -> Response:
    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, lambda: _create(tx, caller, body))
        tx.changed(caller.user_id, "apps", body.site_id)
    return answers.json_answer(answer, 201)


def _create(tx: Tx, caller: Owner, body: AppCreate) -> dict[str, Any]:
    if sites.get(tx.conn, caller, body.site_id) is None:
        raise NotFound("Not found")
    values = _as_served(tx, caller, body.site_id, body.model_dump(mode="json"))
    return answers.app(apps.create(tx.conn, caller, values))


def _as_served(tx: Tx, caller: Owner, site_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """The app's values, without its hooks at the site of a published agent, which needs all of them."""
    return {**values, "hooks": None} if sessions.has_published_agent(tx.conn, caller, site_id) else values


@router.get("/{app_id}", responses={200: {"model": AppOut}})
def get_app(server: Srv, caller: Caller, app_id: AppId) -> Response:
    with server.db.glance() as conn:
        row = apps.get(conn, caller, app_id)
    if row is None:
        raise NotFound("Not found")
    return answers.json_answer(answers.app(row))


@router.put("/{app_id}", responses={200: {"model": AppOut}})
def change_app(server: Srv, caller: Caller, app_id: AppId, body: AppUpdate) -> Response:
    sent = body.model_dump(mode="json", exclude_unset=True)
    values = {name: value for name, value in sent.items() if value is not None or name in _NULLABLE}
    if "serialized_class" in values and "hooks" not in values:
        values["hooks"] = None  # an old client replaced the class: its hooks are unknown
    with server.db.write() as tx:
        _may_move(tx, caller, app_id, values.get("site_id"))
        before = apps.get(tx.conn, caller, app_id)
        if "hooks" in values and before is not None:
            values = _as_served(tx, caller, values.get("site_id", before["site_id"]), values)
        row = apps.change(tx.conn, caller, app_id, values or {"id": app_id})
        if row is None:
            raise NotFound("Not found")
        tx.changed(caller.user_id, "apps", row["site_id"])
    return answers.json_answer(answers.app(row))


def _may_move(tx: Tx, caller: Owner, app_id: int, site_id: int | None) -> None:
    """An app with jobs stays at its site: they would otherwise run at one site and belong to another."""
    if site_id is None:
        return
    locked = apps.lock(tx.conn, caller, AppFilter(id=[app_id]), to_remove=True)
    if not locked or locked[0]["site_id"] == site_id:
        return
    if sites.get(tx.conn, caller, site_id) is None:
        raise NotFound("Not found")
    if jobs.page(tx.conn, caller, JobFilter(app_id=[app_id]), Page(limit=1)):
        raise Conflict(f"App {locked[0]['name']} has jobs at its site: delete them before you move it")


@router.delete("/{app_id}", status_code=204)
def delete_app(server: Srv, caller: Caller, app_id: AppId) -> Response:
    """Deletes the app with its jobs and their events."""
    with server.db.write() as tx:
        site_id = job_logic.remove_app(tx, caller, app_id)
        tx.changed(caller.user_id, "apps", site_id)
    return answers.no_content()
