"""What makes pages live: one stream for each visible page, which says what kinds of things have changed.

It carries no things: a page asks anew for the parts that show what changed. So it stays small under any
load, and whoever was cut off for a while catches up with one look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from balsam.logic import users
from balsam.server.context import Server, Srv
from balsam.server.dashboard.pages import PageRoute
from balsam.server.dashboard.visitors import Looking, Visitor
from balsam.server.watchers import Watcher, Watchers

router = APIRouter(route_class=PageRoute, include_in_schema=False)
BEAT_SEC = 3.0  # pages call themselves stale after three that did not come
GAP_SEC = 0.25  # changes in this time travel together
KINDS = {
    "events": "jobs",
    "jobs": "jobs",
    "freed": "jobs",
    "batch_jobs": "batch-jobs",
    "sites": "sites",
    "apps": "apps",
    "tokens": "tokens",
}


@router.get("/ui/live", response_class=StreamingResponse)
async def live(server: Srv, visitor: Looking) -> StreamingResponse:
    return StreamingResponse(
        _news(server, visitor),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _news(server: Server, visitor: Visitor) -> AsyncIterator[bytes]:
    watchers: Watchers = server.watchers
    watcher = Watcher(asyncio.get_running_loop(), users.digest_of(visitor.token))
    watchers.add(visitor.owner.user_id, watcher)
    try:
        yield _message("hello", [])
        while not watchers.closing:
            wake = await watcher.wait(BEAT_SEC)
            if wake.ended:
                return
            kinds = sorted({KINDS[change.kind] for change in wake.changes if change.kind in KINDS})
            yield _message("changed", kinds) if kinds else _message("beat", [])
            if kinds:
                await asyncio.sleep(GAP_SEC)
    finally:
        watchers.remove(visitor.owner.user_id, watcher)


def _message(name: str, kinds: list[str]) -> bytes:
    return f"event: {name}\n".encode() + b"data: " + orjson.dumps(kinds) + b"\n\n"
