"""Allocations: their list, one of them, and ending or draining it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.datastructures import QueryParams

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState
from balsam.logic import batch_job_why, efficiency, messages
from balsam.logic import batch_jobs as logic
from balsam.logic.places import minutes_left
from balsam.schemas.batch_jobs import BatchJobUpdate
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Acting, Looking
from balsam.server.queries import BatchJobSelection
from balsam.store import batch_jobs as store
from balsam.store import jobs, launchers, names, sites
from balsam.store import messages as message_store
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.jobs import JobFilter
from balsam.store.paging import Page, next_cursor
from balsam.store.scope import Scope

router = APIRouter(route_class=PageRoute, include_in_schema=False)
BatchJobId = Annotated[int, Path(ge=0, le=MAX_ID)]
ROWS = 50


@router.get("/ui/batch-jobs")
def batch_job_list(request: Request, server: Srv, visitor: Looking) -> Response:
    selection = _selection(request.query_params)
    return pages.show(
        request,
        server,
        visitor,
        "batch_jobs",
        {"table": table},
        selection=selection,
        all_states=list(BatchJobState),
    )


def _selection(sent: QueryParams) -> BatchJobSelection:
    values = {name: [one for one in sent.getlist(name) if one] or None for name in ("state", "site_id")}
    return BatchJobSelection.model_validate({**values, "queue": sent.get("queue") or None})


def table(look: Look) -> dict[str, Any]:
    selection = _selection(look.query)
    page = Page(ROWS, order="-id", after=look.query.get("after") or None)
    rows = store.page(look.conn, look.owner, selection.filter(), page)
    told = {one["batch_job_id"]: one["sentence"] for one in batch_job_why.why(look.conn, look.owner, rows)}
    return {
        "rows": [{**row, "why": told[row["id"]]} for row in rows],
        "next": next_cursor(rows, page),
        "is_first": page.after is None,
        "site_names": names.of_sites(look.conn, look.owner),
    }


@router.get("/ui/batch-jobs/{batch_job_id}")
def batch_job_page(request: Request, server: Srv, visitor: Looking, batch_job_id: BatchJobId) -> Response:
    def of_this(make: Any) -> Any:
        return lambda look: make(look, _row(look, batch_job_id))

    parts = {"state": state, "use": use, "facts": facts, "launchers": its_launchers}
    made = {name: of_this(make) for name, make in parts.items()}
    return pages.show(request, server, visitor, "batch_job", made, batch_job_id=batch_job_id)


def _row(look: Look, batch_job_id: int) -> dict[str, Any]:
    row = store.get(look.conn, look.owner, batch_job_id)
    if row is None:
        raise NotFound("Not found")
    return row


def state(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "row": row,
        "why": batch_job_why.why(look.conn, look.owner, [row])[0],
        "left": minutes_left(row, look.now),
        "is_active": row["state"] in ACTIVE_BATCH_JOB_STATES,
        "is_ending": row["state"] == BatchJobState.pending_deletion,
        "is_drained": message_store.is_drained(look.conn, look.owner, row["id"]),
    }


def use(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    """How well its nodes were used, and which jobs it has."""
    scope = Scope.of(look.conn, look.owner, BatchJobFilter(id=[row["id"]]), now=look.now)
    hours = efficiency.node_hours(look.conn, scope, None)
    return {
        "row": row,
        "hours": hours[0] if hours else None,
        "by_state": jobs.count_by_state(look.conn, look.owner, JobFilter(batch_job_id=[row["id"]])),
    }


def facts(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    site = sites.get(look.conn, look.owner, row["site_id"]) or {"name": "", "path": ""}
    return {"row": row, "site": site, "stem": f"{site['path']}/qsubmit/qlaunch{row['id']:05d}"}


def its_launchers(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    return {"launchers": launchers.of_batch_job(look.conn, look.owner, row["id"])}


@router.post("/ui/batch-jobs/{batch_job_id}/end")
def end(request: Request, server: Srv, visitor: Acting, batch_job_id: BatchJobId) -> Response:
    """As `balsam queue term`."""
    with server.db.write() as tx:
        logic.change(tx, visitor.owner, batch_job_id, BatchJobUpdate(state=BatchJobState.pending_deletion))
    return pages.go_to(request, f"/batch-jobs/{batch_job_id}")


@router.post("/ui/batch-jobs/{batch_job_id}/drain")
def drain(request: Request, server: Srv, visitor: Acting, batch_job_id: BatchJobId) -> Response:
    """As `balsam queue drain`, which also waits for the launchers' word."""
    with server.db.write() as tx:
        messages.drain(tx, visitor.owner, batch_job_id)
        tx.changed(visitor.owner.user_id, "batch_jobs", 0)
    return pages.go_to(request, f"/batch-jobs/{batch_job_id}")
