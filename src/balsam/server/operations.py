"""For those who run the server: whether it lives, is ready, and what it does. None of it needs a login."""

from __future__ import annotations

import asyncio
import hmac
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from balsam.core.errors import Forbidden
from balsam.server.answers import json_answer
from balsam.server.context import Server, Srv
from balsam.server.settings import ServerSettings
from balsam.store import migrate, space
from balsam.store import users as user_store

VERSION = version("balsam")
READY_SEC = 5.0
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> Response:
    """Whether the process lives; asks nothing of the database."""
    return json_answer({"status": "ok"})


@router.get("/readyz")
async def readyz(server: Srv) -> Response:
    """Whether requests will be answered: 503 with the reason.

    That is while the server stops, has no database, or has no room to write.
    """
    try:
        asked = to_thread.run_sync(_why_not_ready, server, abandon_on_cancel=True)
        reason = await asyncio.wait_for(asked, READY_SEC)
    except TimeoutError:
        reason = f"the database did not answer within {READY_SEC:g} s"
    if reason is None:
        return json_answer({"status": "ready"})
    return json_answer({"status": "not ready", "reason": reason}, 503)


def _why_not_ready(server: Server) -> str | None:
    if server.watchers.closing:
        return "the server is stopping"
    try:
        found = migrate.schema(server.db)
    except (DBAPIError, PoolTimeout):
        return "the database does not answer"
    if not found.is_current:
        return f"the database is at revision {found.found}, this program needs {found.needed}"
    if server.disk_trouble is not None or space.is_short(server.db):
        server.disk_trouble = space.probe(server.db)
    return server.disk_trouble


@router.get("/health")
def health(server: Srv) -> Response:
    """Whether the server and its database answer, and which they are."""
    with server.db.glance() as conn:
        epoch = user_store.epoch(conn)
    kind = server.db.url.get_backend_name()
    answer: dict[str, Any] = {"status": "ok", "version": VERSION, "epoch": epoch, "database": kind}
    return json_answer({**answer, "owner": server.settings.owner})


@router.get("/metrics")
def metrics(server: Srv, request: Request) -> Response:
    """For Prometheus: from the addresses in `metrics_from`, asked directly, or with the metrics token."""
    if not _may_read(request, server.settings):
        raise Forbidden(
            "metrics are for this server's operators: ask from an address in metrics_from, not through a "
            "proxy, or send the token in metrics_token_file"
        )
    return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _may_read(request: Request, settings: ServerSettings) -> bool:
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    known = settings.metrics_token() if sent else ""
    if known and hmac.compare_digest(sent.encode(), known.encode()):
        return True
    # Through a proxy on this machine, the whole world would come from 127.0.0.1.
    is_direct = not any(name in request.headers for name in FORWARDED)
    return is_direct and request.client is not None and request.client.host in settings.metrics_from
