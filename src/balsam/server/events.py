"""The event log over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from balsam.schemas.events import PaginatedLogEventOut
from balsam.server import answers, columnar
from balsam.server.context import Caller, Server, Srv
from balsam.server.queries import EventQuery, Events
from balsam.server.query_strings import documented
from balsam.store import event_lists
from balsam.store.owner import Owner
from balsam.store.paging import Page, next_cursor

router = APIRouter(prefix="/events", tags=["events"])


@router.get("/", responses={200: {"model": PaginatedLogEventOut}}, openapi_extra=documented(EventQuery))
def list_events(server: Srv, caller: Caller, query: Events) -> Response:
    page = query.page(query.ordering)
    if query.columns is not None:
        return _columns(server, caller, query, query.columns, page)
    with query.look(server.db) as conn:
        rows = event_lists.page(conn, caller, query.filter(), page)
        total = event_lists.count(conn, caller, query.filter(), query.count_limit) if query.counted else None
    return answers.listing(rows, answers.event, total, next_cursor(rows, page), query.count_limit)


def _columns(server: Server, caller: Owner, query: EventQuery, names: list[str], page: Page) -> Response:
    read = columnar.reader(names, answers.EVENT_COLUMNS, page)
    with query.look(server.db) as conn:
        found = event_lists.page_by(read, conn, caller, query.filter(), page)
        total = event_lists.count(conn, caller, query.filter(), query.count_limit) if query.counted else None
    return columnar.listing(found, answers.counted(total, query.count_limit), page)
