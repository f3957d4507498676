"""Transfer items: which files go where, and what became of them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from balsam.core.states import TransferDirection, TransferItemState
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.server.queries import TransferQuery
from balsam.store import names
from balsam.store import transfers as store
from balsam.store.paging import Page, next_cursor

router = APIRouter(route_class=PageRoute, include_in_schema=False)
ROWS = 100


@router.get("/ui/transfers")
def transfer_list(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(
        request,
        server,
        visitor,
        "transfers",
        {"table": table},
        all_states=list(TransferItemState),
        all_directions=list(TransferDirection),
    )


def table(look: Look) -> dict[str, Any]:
    sent = look.query
    wanted = TransferQuery.model_validate(
        {
            "state": [one for one in sent.getlist("state") if one] or None,
            "job_id": [one for text in sent.getlist("job_id") for one in text.replace(",", " ").split()]
            or None,
            "site_id": sent.get("site_id") or None,
            "direction": sent.get("direction") or None,
        }
    )
    page = Page(ROWS, order="-id", after=sent.get("after") or None)
    rows = store.page(look.conn, look.owner, wanted.filter(), page)
    return {
        "rows": rows,
        "wanted": wanted.model_copy(update={"state": wanted.state or [], "job_id": wanted.job_id or []}),
        "next": next_cursor(rows, page),
        "is_first": page.after is None,
        "site_names": names.of_sites(look.conn, look.owner),
    }
