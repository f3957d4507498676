"""Server-sent events: what happened to the caller's things, from a cursor on, without a gap or a double."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from balsam.core.errors import Unauthorized
from balsam.logic import users
from balsam.schemas.types import Id, Text, Wire
from balsam.server import answers
from balsam.server.context import Caller, Server, Srv, bearer
from balsam.server.watchers import Watcher
from balsam.store import events
from balsam.store.database import Change
from balsam.store.events import EventFilter
from balsam.store.owner import Owner

router = APIRouter(tags=["stream"])
BATCH = 2_000
MAX_DIGITS = 19


class StreamQuery(Wire):
    site_id: list[Id] | None = None
    job_id: list[Id] | None = None
    to_state: list[Text] | None = None
    cursor: Text | None = None


@dataclass(slots=True)
class _Stream:
    server: Server
    owner: Owner
    filter: EventFilter
    token: str
    last_id: int

    def cursor(self) -> str:
        return f"{self.server.epoch}:{self.last_id}"

    def fetch(self) -> list[dict[str, Any]]:
        """The next chosen events; moves the cursor behind all that was looked at, chosen or not."""
        with self.server.db.read() as conn:
            rows = events.after(conn, self.owner, self.last_id, self.filter, BATCH)
            self.last_id = rows[-1]["id"] if len(rows) == BATCH else events.newest_id(conn)
        return rows

    def still_allowed(self) -> bool:
        with self.server.db.read() as conn:
            try:
                return users.whose(conn, self.token) == self.owner
            except Unauthorized:
                return False


@router.get("/stream", response_class=StreamingResponse)
async def stream(
    request: Request, server: Srv, caller: Caller, query: Annotated[StreamQuery, Query()]
) -> StreamingResponse:
    """Events of jobs and changes of BatchJobs, sites and apps as they are committed.

    `cursor` is opaque: the last one received, or nothing to begin now. A cursor of another database
    answers `reset`: poll everything once, then go on.
    """
    chosen = EventFilter(job_id=query.job_id, to_state=query.to_state, site_id=query.site_id)
    newest = await run_in_threadpool(_newest, server)
    known = _position(query.cursor, server.epoch, newest)
    position = newest if known is None else known
    state = _Stream(server, caller, chosen, bearer(request), position)
    greeting = "reset" if query.cursor is not None and known is None else "hello"
    return StreamingResponse(
        _messages(state, greeting),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


def _newest(server: Server) -> int:
    with server.db.read() as conn:
        return events.newest_id(conn)


def _position(cursor: str | None, epoch: str, newest: int) -> int | None:
    """The event id that a cursor stands for; None where there is none or it is not of this database."""
    theirs, _, number = (cursor or "").partition(":")
    if theirs != epoch or not number.isdecimal() or len(number) > MAX_DIGITS or int(number) > newest:
        return None
    return int(number)


async def _messages(state: _Stream, greeting: str) -> AsyncIterator[bytes]:
    server = state.server
    watcher = Watcher(asyncio.get_running_loop())
    server.watchers.add(state.owner.user_id, watcher)
    try:
        yield _message(greeting, {"cursor": state.cursor()})
        changes = {Change(state.owner.user_id, "events", 0)}  # what came between cursor and now
        beat_at = time.monotonic() + server.settings.beat_sec
        while not server.watchers.closing:
            # Hints go first: a launcher must hear that an app is new before it hears of the app's jobs.
            for message in _hints(state, changes):
                yield message
            if any(change.kind == "events" for change in changes):
                async for message in _new_events(state):
                    yield message
            if time.monotonic() >= beat_at:
                # Also under traffic that is not for this stream, or the listener takes it for dead.
                beat_at = time.monotonic() + server.settings.beat_sec
                if not await run_in_threadpool(state.still_allowed):
                    return
                yield b": beat\n\n"
            changes = await watcher.wait(max(0.0, beat_at - time.monotonic()))
    finally:
        server.watchers.remove(state.owner.user_id, watcher)


async def _new_events(state: _Stream) -> AsyncIterator[bytes]:
    while rows := await run_in_threadpool(state.fetch):
        yield _message("events", [answers.streamed_event(row) for row in rows], state.cursor())
        if len(rows) < BATCH:
            return


_HINTS = {"batch_jobs": "batch-jobs", "sites": "sites", "apps": "apps", "freed": "freed"}


def _hints(state: _Stream, changes: set[Change]) -> list[bytes]:
    visible = {
        change
        for change in changes
        if (state.owner.site_id in (None, change.site_id))
        and (state.filter.site_id is None or change.site_id in state.filter.site_id)
    }
    messages = []
    for kind, name in _HINTS.items():
        site_ids = sorted({change.site_id for change in visible if change.kind == kind})
        if site_ids:
            messages.append(_message(name, {"site_ids": site_ids}))
    return messages


def _message(name: str, data: Any, cursor: str | None = None) -> bytes:
    head = f"event: {name}\n" + (f"id: {cursor}\n" if cursor else "")
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"
