"""What surrounds each request: its id, its place below a proxy, safe headers, its mark in log and metrics."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from balsam.server.answers import json_answer
from balsam.server.logs import request_id, request_id_from
from balsam.server.metrics import Metrics
from balsam.server.settings import ServerSettings

log = logging.getLogger(__name__)
access = logging.getLogger("balsam.access")

STREAMS = frozenset({"/stream", "/ui/live"})
# Pages are ours alone: no script, style or frame of another origin. Forms may only be sent to us.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class _Exchange:
    """One request and what became of it."""

    scope: Scope
    id: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0  # 0: no answer was begun

    @property
    def route(self) -> str:
        """The template of the path: few values, without ids or anything that a client made up."""
        return getattr(self.scope.get("route"), "path", "unmatched")

    @property
    def method(self) -> str:
        return self.scope["method"] if self.scope["method"] in METHODS else "other"


class Exchanges:
    """Stands outside of everything else, so that what it promises holds for errors, too."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._headers = {
            "cache-control": "no-store",  # somebody's own data, tokens even
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
        }
        if settings.hsts_sec:
            self._headers["strict-transport-security"] = f"max-age={settings.hsts_sec}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, request_id_from(Headers(scope=scope).get("x-request-id")))
        token = request_id.set(exchange.id)
        self._place(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                self._complete(message, exchange)
                if exchange.route in STREAMS:
                    self._metrics.streams.inc()
            await send(message)

        try:
            await self._answered(exchange, receive, answer)
        finally:
            self._finish(exchange)
            request_id.reset(token)

    async def _answered(self, exchange: _Exchange, receive: Receive, answer: Send) -> None:
        try:
            await self._app(exchange.scope, receive, answer)
        except Exception:  # the top of a request
            log.exception("%s %r failed", exchange.method, exchange.scope["path"])
            if exchange.status:
                raise  # an answer that was begun can only be cut off
            sentence = f"The server failed at this request ({exchange.id}); its log says why."
            await json_answer({"detail": sentence}, 500)(exchange.scope, receive, answer)

    def _place(self, scope: Scope) -> None:
        """Below a proxy's sub-path, whether or not the proxy cut it off the path."""
        root = self._settings.root_path
        if root:
            scope["root_path"] = root
            if scope["path"] != root and not scope["path"].startswith(root + "/"):
                scope["path"] = root + scope["path"]

    def _complete(self, message: Message, exchange: _Exchange) -> None:
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = exchange.id
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        is_page = headers.get("content-type", "").startswith("text/html")
        headers.setdefault("content-security-policy", PAGE_POLICY if is_page else DATA_POLICY)
        location = headers.get("location")
        if location and "route" not in exchange.scope:
            # The added slash: without scheme and host, which are not ours to tell behind a proxy.
            target = urlsplit(location)
            headers["location"] = target.path + (f"?{target.query}" if target.query else "")

    def _finish(self, exchange: _Exchange) -> None:
        took = time.perf_counter() - exchange.began
        if exchange.route in STREAMS and exchange.status:
            self._metrics.streams.dec()
        if exchange.route not in STREAMS or exchange.status >= 400:
            self._metrics.request(exchange.method, exchange.route, exchange.status, took)
        if self._settings.access_log:
            _note_access(exchange, took)


def _note_access(exchange: _Exchange, took: float) -> None:
    client = exchange.scope.get("client") or ("-", 0)
    facts = {
        "client": client[0],
        "method": exchange.method,
        "path": exchange.scope["path"],
        "route": exchange.route,
        "status": exchange.status,
        "seconds": round(took, 4),
    }
    # The path as a literal: it may hold what would look like another line.
    access.info(
        "%s %s %r %d %.1f ms",
        client[0],
        exchange.method,
        exchange.scope["path"],
        exchange.status,
        took * 1e3,
        extra={"facts": facts},
    )
