"""The list of jobs: filters in the address, pages by key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from balsam.core.limits import MAX_BOUNDED_COUNT
from balsam.core.states import JobState
from balsam.schemas.jobs import JobOrdering
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.choice import Choice, whole
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store import jobs as store
from balsam.store import names
from balsam.store.jobs import JobFilter
from balsam.store.paging import Page, next_cursor

router = APIRouter(route_class=PageRoute, include_in_schema=False)
ROWS = 50
MAX_SORTED = 10_000  # where no index orders them
# By indexes but for the last: the first page of a million jobs must come at once.
ORDERS = {
    JobOrdering.id_desc: "newest first",
    JobOrdering.id: "oldest first",
    JobOrdering.last_update_desc: "changed last",
    JobOrdering.last_update: "changed first",
    JobOrdering.state: "by state",
    JobOrdering.workdir: "by workdir",
}


@router.get("/ui/jobs")
def job_list(request: Request, server: Srv, visitor: Looking) -> Response:
    query = request.query_params
    choice = Choice.shown(query)
    response = pages.show(
        request,
        server,
        visitor,
        "jobs",
        {"table": table},
        frame=filters,
        choice=choice,
        order=_order(query.get("ordering")),
        did=_did(query),
    )
    response.status_code = 400 if choice.fault else response.status_code
    return response


def _order(text: str | None) -> JobOrdering:
    return JobOrdering(text) if text in ORDERS else JobOrdering.id_desc


def _did(query: Any) -> dict[str, Any] | None:
    """What the page before has done: an action's name and numbers, never a text out of the address."""
    names_ = ("killed", "told", "retried", "refused", "deleted")
    told = {name: whole(query.get(name, "")) for name in names_}
    return {name: number for name, number in told.items() if number is not None} or None


def filters(look: Look) -> dict[str, Any]:
    """What can be chosen from."""
    return {
        "site_names": names.of_sites(look.conn, look.owner),
        "app_names": names.of_apps(look.conn, look.owner),
        "all_states": list(JobState),
        "orders": ORDERS,
    }


def table(look: Look) -> dict[str, Any]:
    """One page of the list, and how many there are in all."""
    choice = Choice.shown(look.query)
    chosen, order = choice.selection.filter(), _order(look.query.get("ordering"))
    after = look.query.get("after") or None
    too_many = (
        order is JobOrdering.workdir and store.count(look.conn, look.owner, chosen, MAX_SORTED) > MAX_SORTED
    )
    page = Page(ROWS, order=JobOrdering.id_desc if too_many else order, after=after)
    rows = store.page(look.conn, look.owner, chosen, page)
    is_all = after is None and len(rows) < ROWS
    total = len(rows) if is_all else store.count(look.conn, look.owner, chosen, MAX_BOUNDED_COUNT)
    following = next_cursor(rows, page)
    return {
        "rows": rows,
        "total": total,
        "bound": MAX_BOUNDED_COUNT,
        "too_many_to_sort": too_many,
        "next": following,
        "is_first": page.after is None,
        "everything": chosen == JobFilter(),
        "row_apps": names.of_apps(look.conn, look.owner, {row["app_id"] for row in rows}),
        "row_sites": names.of_sites(look.conn, look.owner),
    }
