"""Sites over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from balsam.core.clock import now_us
from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import jobs as job_logic
from balsam.logic import site_agents
from balsam.logic.once import once
from balsam.schemas.agents import AgentClaim, AgentHolder, LeaseOut
from balsam.schemas.sites import PaginatedSitesOut, SiteCreate, SiteOut, SiteUpdate
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Srv, User
from balsam.server.queries import SiteQuery, Sites
from balsam.server.query_strings import documented
from balsam.store import sites
from balsam.store.paging import next_cursor

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
    values |= {"last_refresh": now}
    with server.db.write() as tx:
        row = sites.change(tx.conn, caller, site_id, values)
        if row is None:
            raise NotFound("Not found")
        tx.changed(caller.user_id, "sites", site_id)
    return answers.json_answer(answers.site(row))


@router.put("/{site_id}/agent", response_model=LeaseOut)
def claim_site(server: Srv, caller: Caller, site_id: SiteId, body: AgentClaim) -> LeaseOut:
    """An agent takes or renews its lease of the site; while another one has it, it is told which."""
    with server.db.write() as tx:
        decision = site_agents.claim_site(tx, caller, site_id, body, server.up_since)
    holder = AgentHolder.model_validate({name: decision.record[name] for name in AgentHolder.model_fields})
    return LeaseOut(granted=decision.granted, holder=holder, lease_sec=site_agents.LEASE_SEC)


@router.delete("/{site_id}/agent/{instance}", status_code=204)
def leave_site(server: Srv, caller: Caller, site_id: SiteId, instance: str) -> Response:
    """An agent ends its lease of the site."""
    with server.db.write() as tx:
        site_agents.leave_site(tx, caller, site_id, instance)
    return answers.no_content()


@router.delete("/{site_id}", status_code=204)
def delete_site(server: Srv, user: User, site_id: SiteId) -> Response:
    """Deletes the site with its apps, jobs and events."""
    with server.db.write() as tx:
        job_logic.remove_site(tx, user, site_id)
        tx.changed(user.user_id, "sites", site_id)
    return answers.no_content()
