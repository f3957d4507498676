"""One job: what it is, what happened to it, what it prints, why it waits."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.core.states import DONE_STATES
from balsam.logic import traces
from balsam.logic.why import why
from balsam.server import messages
from balsam.server.context import Srv
from balsam.server.dashboard import family, history, pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.server.messages import TailQuery
from balsam.store import app_versions, apps, event_lists, jobs, names, runs, transfers
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.paging import Page
from balsam.store.scope import Scope
from balsam.store.traces import Attempts
from balsam.store.transfers import TransferFilter

router = APIRouter(route_class=PageRoute, include_in_schema=False)
JobId = Annotated[int, Path(ge=0, le=MAX_ID)]
EVENTS, ATTEMPTS, CHILDREN = 400, 60, 1_000
ITEMS = 100  # transfers that are listed


@router.get("/ui/jobs/{job_id}")
def job_page(
    request: Request,
    server: Srv,
    visitor: Looking,
    job_id: JobId,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> Response:
    """`attempt`: whose output is shown; left out: the last one's."""

    def of_this(make: Any) -> Any:
        return lambda look: make(look, _job(look, job_id))

    parts = {"state": state, "facts": facts, "history": life, "family": kin, "source": source}
    made = {name: of_this(make) for name, make in parts.items()}
    return pages.show(request, server, visitor, "job", made, job_id=job_id, attempt=attempt)


def _job(look: Look, job_id: int) -> dict[str, Any]:
    rows = jobs.by_ids(look.conn, look.owner, [job_id])
    if not rows:
        raise NotFound("Not found")
    return rows[0]


def state(look: Look, job: dict[str, Any]) -> dict[str, Any]:
    told = why(look.conn, look.owner, [job])[0]
    return {"job": job, "why": told, "has_ended": job["state"] in DONE_STATES}


def facts(look: Look, job: dict[str, Any]) -> dict[str, Any]:
    of_this = TransferFilter(job_id=[job["id"]])
    items = transfers.page(look.conn, look.owner, of_this, Page(limit=ITEMS))
    number = transfers.count(look.conn, look.owner, of_this) if len(items) == ITEMS else len(items)
    return {
        "job": job,
        "app": names.of_apps(look.conn, look.owner, [job["app_id"]]).get(job["app_id"]),
        "site_name": names.of_sites(look.conn, look.owner).get(job["site_id"], ""),
        "items": items,
        "items_left_out": number - len(items),
    }


def life(look: Look, job: dict[str, Any]) -> dict[str, Any]:
    f = EventFilter(job_id=[job["id"]])
    rows = event_lists.page(look.conn, look.owner, f, Page(limit=EVENTS, order="-id"))[::-1]
    segments = history.stays(rows, job["state"], job["state_since"])
    wanted = Attempts(None, "-start", ATTEMPTS, None, look.now)
    attempts, _ = traces.trace(look.conn, Scope.of(look.conn, look.owner, f, now=look.now), wanted)
    return {
        "job": job,
        "segments": history.laid_out(segments, look.now),
        "bar_width": history.WIDTH,
        "began": rows[0]["entered"] if rows else job["state_since"],
        "is_cut": len(rows) == EVENTS,
        "max_events": EVENTS,
        "attempts": attempts,
    }


def kin(look: Look, job: dict[str, Any]) -> dict[str, Any]:
    wanted = job["parent_ids"]
    found = {row["id"]: row for row in jobs.by_ids(look.conn, look.owner, wanted[: family.SHOWN])}
    gone = {"workdir": "deleted", "state": ""}
    parents = [found.get(one, {"id": one, **gone}) for one in wanted[: family.SHOWN]]
    of_this = JobFilter(parent_id=[job["id"]])
    children = jobs.page(look.conn, look.owner, of_this, Page(limit=family.SHOWN))
    number = (
        jobs.count(look.conn, look.owner, of_this, CHILDREN)
        if len(children) == family.SHOWN
        else len(children)
    )
    return {
        "job": job,
        "num_parents": len(wanted),
        "num_children": number,
        "family": family.drawn(parents, job, children) if wanted or children else None,
        "box": (family.BOX_WIDTH, family.BOX_HEIGHT),
    }


def source(look: Look, job: dict[str, Any]) -> dict[str, Any]:
    """Of the version that its last run ran; of a job that has not run, the newest."""
    app = apps.get(look.conn, look.owner, job["app_id"])
    ran = runs.last_version(look.conn, look.owner, job["id"])
    if app is None or (ran is not None and ran.app_version is None):
        return {"app": app, "version": None, "source": "", "has_run": ran is not None}
    version = app["version"] if ran is None or ran.app_version is None else ran.app_version
    text = app_versions.source(look.conn, look.owner, app["id"], version)
    return {"app": app, "version": version, "source": text or "", "has_run": ran is not None}


@router.get("/ui/jobs/{job_id}/output")
async def output(
    server: Srv, visitor: Looking, job_id: JobId, query: Annotated[TailQuery, Query()]
) -> Response:
    """A piece of `job.out`, as `balsam job tail` asks for it."""
    return await messages.tail(server, visitor.owner, visitor.token, job_id, query)
