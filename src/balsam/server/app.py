"""Builds the server from its settings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from balsam.core.clock import now_us
from balsam.core.limits import MAX_STRANGERS_BODY_BYTES
from balsam.server import (
    alerts,
    analytics,
    apps,
    batch_jobs,
    context,
    dashboard,
    errors,
    events,
    jobs,
    login_pages,
    logins,
    messages,
    operations,
    overview,
    sessions,
    sites,
    stream,
    totals,
    transfers,
    users,
)
from balsam.server.alerting import Alerting
from balsam.server.answers import json_answer
from balsam.server.context import Server
from balsam.server.exchange import Exchanges
from balsam.server.metrics import Metrics
from balsam.server.operations import VERSION
from balsam.server.postmen import Postmen
from balsam.server.pulse import Pulse
from balsam.server.settings import ServerSettings
from balsam.server.signals import end_streams_at_signals
from balsam.server.sweeper import Sweeper
from balsam.server.tokens import KnownTokens
from balsam.server.watchers import Watchers
from balsam.store import migrate, restoration, slow
from balsam.store import users as user_store
from balsam.store.database import Database
from balsam.store.notices import Change, Listener

if TYPE_CHECKING:
    from balsam.server.oidc import Provider

STRANGERS_BODY = f"log in first: without a valid token no more than {MAX_STRANGERS_BODY_BYTES} bytes are read"


def build(settings: ServerSettings, *, deployed: bool = False, shared_metrics: Path | None = None) -> FastAPI:
    """The application. Its database is upgraded to the newest revision, but for a deployed server's:

    that raises WrongSchema, since other processes may work with it. `shared_metrics`: see `Metrics`.
    """
    db = Database(settings.database_url, pool=settings.database_pool)
    if deployed:
        require_fit(db)
    else:
        migrate.upgrade(db)
    if settings.slow_statement_sec:
        slow.log_slow(db, settings.slow_statement_sec)
    with db.read() as conn:
        epoch = user_store.epoch(conn)
    provider = _login_provider(settings)
    metrics = Metrics(db, shared_metrics)
    postmen = Postmen(settings)
    server = Server(settings, db, Watchers(), epoch, now_us(), metrics, KnownTokens(), postmen, provider)
    alerting = Alerting(server)

    def committed(changes: frozenset[Change]) -> None:
        server.tokens.committed(changes)
        server.watchers.committed(changes)
        alerting.committed(changes)

    def after_gap() -> None:
        server.up_since = now_us()  # nobody could renew a lease while the database was away
        server.tokens.forget()
        server.watchers.end_all()
        alerting.wake()

    db.on_moves = metrics.moved
    db.on_commit = committed

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threads: list[Sweeper | Pulse | Alerting | Listener] = [Sweeper(server), Pulse(server), alerting]
        if not db.is_sqlite:
            threads.append(Listener(db.writers, committed, after_gap))
        for thread in threads:
            thread.start()
        end_streams_at_signals(server.watchers)
        yield
        for thread in threads:
            thread.stop()
        if provider is not None:
            provider.close()
        db.close()

    # The pages at /docs would run scripts of another origin beside the users' logins.
    app = FastAPI(title="Balsam", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    # What is added last stands outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    errors.install(app)
    # Routers are asked one after the other whether a path is theirs: those that are asked most come first.
    for module in (
        overview,  # before /jobs/{id}
        jobs,
        sessions,
        events,
        batch_jobs,
        messages,
        transfers,
        sites,
        apps,
        users,
        logins,
        login_pages,
        totals,
        analytics,
        stream,
        alerts,
        operations,
    ):
        app.include_router(module.router)
    for router in dashboard.routers():
        app.include_router(router)
    app.add_middleware(Exchanges, settings=settings, metrics=server.metrics)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    return app


def _login_provider(settings: ServerSettings) -> Provider | None:
    if not settings.oauth_issuer:
        return None
    from balsam.server.oidc import Provider  # here: what it needs is an eighth of a server's memory
    from balsam.server.proxied import Proxied

    return Provider(settings, Proxied(os.environ))


def require_fit(db: Database) -> None:
    """Raises WrongSchema with the remedy where the database is not one that this program may serve."""
    migrate.schema(db).require_current()
    with db.read() as conn:
        restoration.require_home(conn)


class BodyLimit:
    """Refuses bodies over the limit before they are wholly read into memory.

    Bodies are parsed before their routes ask who sent them, so those of strangers have a limit of their own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._sentence = f"the body is larger than {max_bytes} bytes: send fewer items in one call"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _declared_length(scope) > self._max_bytes:
            await json_answer({"detail": self._sentence}, 413)(scope, receive, send)
            return
        seen, is_a_users = 0, False

        async def counting() -> Message:
            nonlocal seen, is_a_users
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise HTTPException(413, self._sentence)  # a body that did not say how long it is
            if seen > MAX_STRANGERS_BODY_BYTES and not is_a_users:
                is_a_users = await context.is_a_users(Request(scope))
                if not is_a_users:
                    await _drop_rest(message, receive)
                    raise HTTPException(401, STRANGERS_BODY, {"www-authenticate": "Bearer"})
            return message

        await self._app(scope, counting, send)


async def _drop_rest(message: Message, receive: Receive) -> None:
    """Who still sends would not hear the answer."""
    while message.get("more_body"):
        message = await receive()


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
