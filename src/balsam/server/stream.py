"""Server-sent events: what happened to the caller's things, from a cursor on, without a gap or a double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from balsam.logic import users
from balsam.schemas.types import Id, Text
from balsam.server import answers
from balsam.server.context import Caller, Server, Srv, bearer
from balsam.server.cursors import cursor_of, position_of
from balsam.server.messages import open_for
from balsam.server.queries import EventSelection
from balsam.server.query_strings import documented, of_query
from balsam.server.watchers import Watcher
from balsam.store import events
from balsam.store.events import EventFilter, Position
from balsam.store.notices import Change
from balsam.store.owner import Owner

router = APIRouter(tags=["stream"])
BATCH = 2_000
ANY_SITE = 0
# What one stream may keep in memory while its reader does not read, but for a single event that is larger.
MAX_BATCH_BYTES = 512 * 1024
PIECE_BYTES = 64 * 1024  # are copied by what writes them to the socket
HINT_PAUSE_SEC = 0.25
MIN_PAUSE_SEC, MAX_PAUSE_SEC = 0.01, 0.5


class StreamQuery(EventSelection):
    """`cursors=each`: every event comes with a cursor of its own, to be resumed behind any of them."""

    session_id: Id | None = None
    cursor: Text | None = None
    only_hints: bool = False
    cursors: Literal["each"] | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Events as bytes: a slow reader keeps them waiting for long, and rows would take ten times as much."""

    message: bytes
    more: bool
    held_back: bool


@dataclass(slots=True)
class _Stream:
    server: Server
    owner: Owner
    filter: EventFilter
    token: str
    position: Position
    session_id: int | None = None
    only_hints: bool = False
    with_cursors: bool = False
    messages_sent: set[int] = field(default_factory=set)

    def cursor(self, position: Position | None = None) -> str:
        return cursor_of(position or self.position, self.server.epoch)

    def _told(self, row: dict[str, Any]) -> dict[str, Any]:
        told = answers.streamed_event(row)
        return {**told, "cursor": self.cursor(Position.of(row))} if self.with_cursors else told

    def fetch_messages(self) -> bytes:
        """What the session is asked and was not sent on this stream."""
        assert self.session_id is not None, "nobody looks for messages to nobody"
        opened = open_for(self.server, self.owner)(self.session_id)
        fresh = [one for one in opened if one["id"] not in self.messages_sent]
        self.messages_sent = {one["id"] for one in opened}
        return _message("messages", fresh) if fresh else b""

    def fetch(self) -> _Batch:
        """The next chosen events; moves the cursor behind all that was looked at, chosen or not."""
        limit = BATCH
        while True:
            with self.server.db.read() as conn:
                found = events.after(conn, self.owner, self.position, self.filter, limit)
            data = orjson.dumps([self._told(row) for row in found.rows])
            if len(data) <= MAX_BATCH_BYTES or limit == 1:
                break
            limit = max(1, len(found.rows) * MAX_BATCH_BYTES // len(data) * 9 // 10)
        self.position = found.position
        message = _framed("events", data, self.cursor()) if found.rows else b""
        return _Batch(message, len(found.rows) == limit, found.held_back)


@router.get("/stream", response_class=StreamingResponse, openapi_extra=documented(StreamQuery))
async def stream(
    request: Request,
    server: Srv,
    caller: Caller,
    query: Annotated[StreamQuery, Depends(of_query(StreamQuery))],
) -> StreamingResponse:
    """Events of jobs and changes of BatchJobs, sites and apps as they are committed.

    `cursor` is opaque: the last one received, or nothing to begin now. A cursor of another database
    answers `reset`: poll everything once, then go on. `session_id`: brings what this session is asked, too
    (`messages`), until it has answered. `only_hints`: `changed` says that there are events, a few times a
    second at most, for whoever then looks at something else.
    """
    newest = await run_in_threadpool(_newest, server)
    known = _position(query.cursor, server.epoch, newest)
    position = newest if known is None else known
    state = _Stream(
        server,
        caller,
        query.filter(),
        bearer(request),
        position,
        query.session_id,
        query.only_hints,
        query.cursors is not None,
    )
    greeting = "reset" if query.cursor is not None and known is None else "hello"
    return StreamingResponse(
        _messages(state, greeting),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


def _newest(server: Server) -> Position:
    with server.db.read() as conn:
        return events.head(conn)


def _position(cursor: str | None, epoch: str, newest: Position) -> Position | None:
    """What a cursor stands for; None where there is none or it is not of this database."""
    position = position_of(cursor or "", epoch)
    return position if position is not None and position <= newest else None


async def _messages(state: _Stream, greeting: str) -> AsyncIterator[bytes]:
    watchers = state.server.watchers
    watcher = Watcher(asyncio.get_running_loop(), users.digest_of(state.token))
    watchers.add(state.owner.user_id, watcher)
    try:
        yield _message(greeting, {"cursor": state.cursor()})
        # What came between cursor and now, and what waits for the session.
        changes = {Change(state.owner.user_id, kind, ANY_SITE) for kind in ("events", "messages")}
        patience = Patience()
        while not watchers.closing:
            if _is_to_look_for_messages(state, changes):
                yield await run_in_threadpool(state.fetch_messages)
            # Hints go first: a launcher must hear that an app is new before it hears of the app's jobs.
            for message in _hints(state, changes):
                yield message
            if state.only_hints:
                await asyncio.sleep(HINT_PAUSE_SEC)  # what comes meanwhile is told at once
            elif patience.is_waiting or any(change.kind == "events" for change in _visible(state, changes)):
                async for message in _new_events(state, patience, watcher):
                    yield message
            wake = await watcher.wait(patience.pause)
            if wake.ended:
                return
            if wake.beat:
                yield b": beat\n\n"
            changes = wake.changes
    finally:
        watchers.remove(state.owner.user_id, watcher)


def _is_to_look_for_messages(state: _Stream, changes: set[Change]) -> bool:
    return state.session_id is not None and any(
        change.kind == "messages" for change in _visible(state, changes)
    )


class Patience:
    """How long to wait for an older transaction that holds newer events back; None while none does."""

    def __init__(self) -> None:
        self.pause: float | None = None

    @property
    def is_waiting(self) -> bool:
        return self.pause is not None

    def note(self, held_back: bool) -> None:
        # Nobody tells when that transaction ends: it may be a stranger's, or be rolled back.
        self.pause = min(MAX_PAUSE_SEC, 2 * (self.pause or MIN_PAUSE_SEC / 2)) if held_back else None


async def _new_events(state: _Stream, patience: Patience, watcher: Watcher) -> AsyncIterator[bytes]:
    """All there are; a slow reader of many must not outlive its token, or hold up a server that stops."""
    while not watcher.is_to_end:
        batch = await run_in_threadpool(state.fetch)
        for start in range(0, len(batch.message), PIECE_BYTES):
            yield batch.message[start : start + PIECE_BYTES]
        if not batch.more:
            patience.note(batch.held_back)
            return


_HINTS = {"batch_jobs": "batch-jobs", "sites": "sites", "apps": "apps", "freed": "freed"}


def _hints(state: _Stream, changes: set[Change]) -> list[bytes]:
    messages = []
    visible = _visible(state, changes)
    kinds = {**_HINTS, "events": "changed"} if state.only_hints else _HINTS
    for kind, name in kinds.items():
        site_ids = sorted({change.site_id for change in visible if change.kind == kind})
        if site_ids:
            messages.append(_message(name, {"site_ids": site_ids}))
    return messages


def _visible(state: _Stream, changes: set[Change]) -> set[Change]:
    """Those at the sites that the stream is about; site 0 stands for any."""
    sites = state.filter.site_id
    return {
        change
        for change in changes
        if state.owner.site_id in (None, change.site_id) or change.site_id == ANY_SITE
        if sites is None or change.site_id in sites or change.site_id == ANY_SITE
    }


def _message(name: str, data: Any) -> bytes:
    return _framed(name, orjson.dumps(data))


def _framed(name: str, data: bytes, cursor: str | None = None) -> bytes:
    head = f"event: {name}\n" + (f"id: {cursor}\n" if cursor else "")
    return head.encode() + b"data: " + data + b"\n\n"
