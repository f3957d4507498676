"""The event log over HTTP."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Response

from balsam.core.errors import Invalid
from balsam.schemas.events import PaginatedLogEventOut
from balsam.server import answers, columnar
from balsam.server.context import Caller, Server, Srv
from balsam.server.cursors import position_of
from balsam.server.queries import EventQuery, Events
from balsam.server.query_strings import documented
from balsam.store import event_lists
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import next_cursor

router = APIRouter(prefix="/events", tags=["events"])


@router.get("/", responses={200: {"model": PaginatedLogEventOut}}, openapi_extra=documented(EventQuery))
def list_events(server: Srv, caller: Caller, query: Events) -> Response:
    page, chosen = query.page(query.ordering), _filter(server, query)
    if query.columns is not None:
        return _columns(server, caller, query, query.columns)
    with query.look(server.db) as conn:
        rows = event_lists.page(conn, caller, chosen, page)
        total = event_lists.count(conn, caller, chosen, query.count_limit) if query.counted else None
    return answers.listing(rows, answers.event, total, next_cursor(rows, page), query.count_limit)


def _columns(server: Server, caller: Owner, query: EventQuery, names: list[str]) -> Response:
    page, chosen = query.page(query.ordering), _filter(server, query)
    read = columnar.reader(names, answers.EVENT_COLUMNS, page)
    with query.look(server.db) as conn:
        found = event_lists.page_by(read, conn, caller, chosen, page)
        total = event_lists.count(conn, caller, chosen, query.count_limit) if query.counted else None
    return columnar.listing(found, answers.counted(total, query.count_limit), page)


def _filter(server: Server, query: EventQuery) -> EventFilter:
    if query.until is None:
        return query.filter()
    position = position_of(query.until, server.epoch)
    if position is None:
        raise Invalid("`until` is no cursor of a stream of this database")
    return replace(query.filter(), until=position)
