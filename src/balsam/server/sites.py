"""Sites over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from balsam.core.clock import naive_text, now_us
from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import jobs as job_logic
from balsam.logic.once import once
from balsam.logic.places import Places
from balsam.schemas.sites import AgentOut, PaginatedSitesOut, SiteCreate, SiteOut, SiteUpdate
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Srv, User
from balsam.server.queries import SiteQuery, Sites
from balsam.server.query_strings import documented
from balsam.store import sites
from balsam.store.paging import Page, next_cursor
from balsam.store.sites import SiteFilter

router = APIRouter(prefix="/sites", tags=["sites"])
SiteId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get("/", responses={200: {"model": PaginatedSitesOut}}, openapi_extra=documented(SiteQuery))
def list_sites(server: Srv, caller: Caller, query: Sites) -> Response:
    page = query.page()
    with query.look(server.db) as conn:
        rows = sites.page(conn, caller, query.filter(), page)
        total = sites.count(conn, caller, query.filter()) if query.counted else None
    return answers.listing(rows, answers.site, total, next_cursor(rows, page))


@router.post("/", status_code=201, responses={201: {"model": SiteOut}})
def create_site(server: Srv, user: User, key: OnceKey, body: SiteCreate) -> Response:
    now = now_us()
    values = {**body.model_dump(mode="json"), "creation_date": now, "last_refresh": now}
    with server.db.write() as tx:
        answer, again = once(tx, user, key, lambda: answers.site(sites.create(tx.conn, user, values)))
        if not again:
            tx.changed(user.user_id, "sites", answer["id"])
    return answers.json_answer(answer, 201)


@router.get("/agents", responses={200: {"model": list[AgentOut]}})
def list_agents(server: Srv, caller: Caller) -> Response:
    """Of each site, the newest first: whether its agent works, when it was heard of, and what to do."""
    with server.db.read() as conn:
        places = Places(conn, caller)
        rows = sites.page(conn, caller, SiteFilter(), Page(order="-id"))
        found = [_agent(places, row["id"]) for row in rows]
    return answers.json_answer(found)


def _agent(places: Places, site_id: int) -> dict[str, Any]:
    agent = places.agent(site_id)
    return {
        "site_id": site_id,
        "works": agent.alive,
        "last_heard": None if agent.last is None else naive_text(agent.last),
        "sentence": f"the agent of site {agent.site} works" if agent.alive else agent.absence(places.now),
    }


@router.get("/{site_id}", responses={200: {"model": SiteOut}})
def get_site(server: Srv, caller: Caller, site_id: SiteId) -> Response:
    with server.db.glance() as conn:
        row = sites.get(conn, caller, site_id)
    if row is None:
        raise NotFound("Not found")
    return answers.json_answer(answers.site(row))


@router.put("/{site_id}", responses={200: {"model": SiteOut}})
def change_site(server: Srv, caller: Caller, site_id: SiteId, body: SiteUpdate) -> Response:
    sent = body.model_dump(mode="json", exclude_unset=True)
    values = {
        name: value for name, value in sent.items() if value is not None or name == "globus_endpoint_id"
    }
    now = now_us()
    values |= {"last_refresh": now} | ({} if caller.site_id is None else {"agent_seen": now})
    with server.db.write() as tx:
        row = sites.change(tx.conn, caller, site_id, values)
        if row is None:
            raise NotFound("Not found")
        tx.changed(caller.user_id, "sites", site_id)
    return answers.json_answer(answers.site(row))


@router.delete("/{site_id}", status_code=204)
def delete_site(server: Srv, user: User, site_id: SiteId) -> Response:
    """Deletes the site with its apps, jobs and events."""
    with server.db.write() as tx:
        job_logic.remove_site(tx, user, site_id)
        tx.changed(user.user_id, "sites", site_id)
    return answers.no_content()
