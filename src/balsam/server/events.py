"""The event log over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from balsam.schemas.events import PaginatedLogEventOut
from balsam.server import answers
from balsam.server.context import Caller, Srv
from balsam.server.queries import EventQuery, Events
from balsam.server.query_strings import documented
from balsam.store import events
from balsam.store.paging import next_cursor

router = APIRouter(prefix="/events", tags=["events"])


@router.get("/", responses={200: {"model": PaginatedLogEventOut}}, openapi_extra=documented(EventQuery))
def list_events(server: Srv, caller: Caller, query: Events) -> Response:
    page = query.page(query.ordering)
    with query.look(server.db) as conn:
        rows = events.page(conn, caller, query.filter(), page)
        total = events.count(conn, caller, query.filter()) if query.counted else None
    return answers.listing(rows, answers.event, total, next_cursor(rows, page))
