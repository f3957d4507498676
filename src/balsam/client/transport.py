"""The only home of the HTTP library: requests with login, bounded retry and errors as one tree."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import orjson

from balsam.client import field_errors, reasons, retry, sse, tls
from balsam.client.connections import Connections
from balsam.client.credentials import Credentials, FixedToken
from balsam.client.encoding import json_body, query_pairs
from balsam.client.errors import (
    AuthError,
    BadAddress,
    ClientError,
    NoBalsamServer,
    NotFoundError,
    ServerFault,
    ServerRefused,
    ServerUnreachable,
    ServerUntrusted,
)
from balsam.client.feed import Feed
from balsam.client.sse import ServerSentEvent
from balsam.core.forks import renew_in_children

log = logging.getLogger(__name__)

Send = Callable[[httpx.Request], httpx.Response]

RENEW_SEC = 20.0
WARN_SEC = 5.0  # of waiting for a server that is away
BEAT_LIMIT_SEC = 45.0  # the server beats every 15 s; three missed and the stream counts as cut


@dataclass(frozen=True)
class Answer:
    """A parsed answer with its headers; `body` is None where the server sent none."""

    body: Any
    headers: Mapping[str, str]


class Client:
    """One user's (or site's) connection to one server. Thread safe; close it, or use it in a `with`.

    A forked child may go on with its parent's client: it makes connections of its own.

    `token`, or `credentials` that know how to renew one, are sent with each request.
    `retry_sec`: how long a request that may be repeated is repeated, in all, before it raises.
    `outage_sec`: the same where the server is away (no answer, or 502, 503, 504); as `retry_sec` if None.
    `ca_file`: certificates of a private authority; proxies come from the usual environment variables, but for
    servers on this machine.
    """

    def __init__(
        self,
        api_root: str,
        token: str | None = None,
        *,
        credentials: Credentials | None = None,
        ca_file: str | Path | None = None,
        connect_timeout: float = 6.2,
        read_timeout: float = 120.0,
        retry_sec: float = 30.0,
        outage_sec: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.api_root = api_root.rstrip("/")
        self.ca_file = None if ca_file is None else str(ca_file)
        self.key = uuid4().hex  # tells clients of one process apart, whoever they act for
        self.retry_sec = retry_sec
        self._timeout = httpx.Timeout(read_timeout, connect=connect_timeout)
        self._credentials = credentials or FixedToken(token)
        self.outage_sec = retry_sec if outage_sec is None else outage_sec
        self._connections = Connections(self.api_root, ca_file, self._timeout, transport)
        self._feed: Feed | None = None
        self._feed_lock = threading.Lock()
        renew_in_children(self)

    def after_fork(self) -> None:
        self._feed_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.api_root!r})"

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()
        self._connections.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self.request("GET", path, params=params).body

    def post(
        self, path: str, body: Any, *, params: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Any:
        """`key`: the idempotency key; a fresh one unless given."""
        return self.request("POST", path, body=body, params=params, key=key).body

    def patch(
        self, path: str, body: Any, *, params: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Any:
        return self.request("PATCH", path, body=body, params=params, key=key).body

    def put(
        self, path: str, body: Any, *, params: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Any:
        return self.request("PUT", path, body=body, params=params, key=key).body

    def delete(self, path: str, params: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any:
        return self.request("DELETE", path, params=params, key=key).body

    def post_form(self, path: str, form: Mapping[str, str]) -> Any:
        """A form instead of JSON (the password login); not repeated, for it carries no key."""
        return self._send(self._request("POST", path, form=form)).body

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        prefer: str | None = None,
        patience_sec: float | None = None,
    ) -> Answer:
        """One request, repeated while it may help; raises a ClientError.

        `prefer`: a further preference of RFC 7240. `patience_sec`: how long it is asked again, if not for
        the client's own time.
        """
        request = self._request(
            method,
            path,
            params=_query(params),
            content=None if body is None else json_body(body),
            headers=_headers(method, body is not None, key, prefer),
        )
        return self._repeat(request, patience_sec)

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Request:
        try:
            return self._connections.request(method, self.api_root + path, **parts)
        except httpx.InvalidURL as exc:
            raise BadAddress(f"{self.api_root!r} is no address of a server: {exc}") from exc

    def _repeat(self, request: httpx.Request, patience_sec: float | None) -> Answer:
        began = time.monotonic()
        has_warned = False
        for attempt in range(10**6):
            try:
                return self._send(request)
            except (ServerFault, ServerUnreachable) as exc:
                pause = retry.pause(attempt)
                allowed = self._patience(exc) if patience_sec is None else patience_sec
                waited = time.monotonic() - began
                if waited + pause > allowed or not _may_help(exc):
                    raise
                if not has_warned and waited > WARN_SEC:
                    log.warning("%s; trying again for %.0f s", exc, allowed - waited)
                    has_warned = True
                time.sleep(pause)
        raise AssertionError("the loop above returns or raises")

    def _patience(self, exc: ServerFault | ServerUnreachable) -> float:
        is_away = not isinstance(exc, ServerFault) or retry.is_outage(exc.status)
        return self.outage_sec if is_away else self.retry_sec

    def _send(self, request: httpx.Request) -> Answer:
        try:
            response = self._exchange(request, self._connections.shared().send)
        except httpx.RequestError as exc:
            raise self._unreachable(exc) from exc
        self._raise_for(response)
        try:
            return Answer(orjson.loads(response.content) if response.content else None, response.headers)
        except orjson.JSONDecodeError as exc:
            raise self._no_balsam_server(response) from exc

    def _exchange(self, request: httpx.Request, send: Send) -> httpx.Response:
        """Sends it with the login's token; if that was refused, once more with a newer one."""
        token = self._credentials.token(self._renew)
        response = send(_authorized(request, token))
        if response.status_code == 401 and token is not None:
            newer = self._credentials.after_refusal(token, self._renew)
            if newer is not None:
                response.close()
                response = send(_authorized(request, newer))
        return response

    def _renew(self, refresh_token: str) -> dict[str, Any]:
        # Much less than the minute in which a refresh token whose answer was lost serves again.
        form = {"refresh_token": refresh_token}
        timeout = httpx.Timeout(RENEW_SEC, connect=self._timeout.connect)
        request = self._request("POST", "/auth/refresh", form=form, timeout=timeout)
        renewed: dict[str, Any] = self._renewal(request)
        return renewed

    def _renewal(self, request: httpx.Request) -> Any:
        try:
            response = self._connections.shared().send(request)
        except httpx.RequestError as exc:
            raise self._unreachable(exc) from exc
        self._raise_for(response)
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as exc:
            raise self._no_balsam_server(response) from exc

    def _raise_for(self, response: httpx.Response) -> None:
        status = response.status_code
        if status < 300:
            return
        sentence = _sentence(response)
        if status >= 500 and sentence is None:
            raise ServerFault(status, reasons.of_page(response), before=self.api_root)
        if sentence is None and status != 413:  # which is about the request, whoever says it
            raise self._no_balsam_server(response)
        sentence = sentence or reasons.of_page(response)
        if status == 429 or status >= 500:
            raise ServerFault(status, sentence, response.headers.get("x-request-id"))
        if status == 401:
            raise AuthError(self.api_root, sentence)
        if status == 404:
            raise NotFoundError(status, _with_path(sentence, response))
        raise ServerRefused(status, sentence)

    def _no_balsam_server(self, response: httpx.Response) -> NoBalsamServer:
        return NoBalsamServer(self.api_root, reasons.of_page(response), way=self._way())

    def _unreachable(self, exc: httpx.RequestError) -> ClientError:
        if isinstance(exc, httpx.UnsupportedProtocol):
            return BadAddress(
                f"{self.api_root!r} is no address of a server: it is neither https:// nor http://"
            )
        reason = reasons.of_failure(exc)
        remedy = tls.remedy(exc, self.api_root)
        if remedy:
            return ServerUntrusted(self.api_root, str(exc) or reason, remedy, self._way())
        told = self._remedy_of_proxy(exc) or reasons.remedy(exc)
        return ServerUnreachable(self.api_root, reason, told, self._way())

    def _way(self) -> str:
        proxy = self._connections.proxy
        return proxy.way if proxy else ""

    def _remedy_of_proxy(self, exc: httpx.RequestError) -> str | None:
        """Where it is the proxy that can't be reached, or that refuses."""
        proxy = self._connections.proxy
        if proxy is None or not isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            return None
        host = urlsplit(self.api_root).hostname
        return f"check that proxy, or name {host} in no_proxy if it can be reached without"

    def stream(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[ServerSentEvent]:
        """Messages of one connection, `beat`s included, until it ends; a ClientError when it breaks."""
        request = self._request(
            "GET",
            path,
            params=_query(params),
            headers={"Accept": "text/event-stream"},
            timeout=httpx.Timeout(BEAT_LIMIT_SEC, connect=self._timeout.connect),
        )
        try:
            with (
                self._connections.apart() as http,
                closing(self._exchange(request, functools.partial(http.send, stream=True))) as response,
            ):
                kind = response.headers.get("content-type", "")
                if response.status_code >= 300 or "event-stream" not in kind:
                    response.read()
                    self._raise_for(response)
                    raise self._no_balsam_server(response)
                yield from sse.parse(response.iter_lines())
        except httpx.RequestError as exc:
            raise self._unreachable(exc) from exc

    def feed(self) -> Feed:
        """The one stream of ends of jobs that all waiters of this client share."""
        with self._feed_lock:
            if self._feed is None:
                self._feed = Feed(self)
            return self._feed


def _authorized(request: httpx.Request, token: str | None) -> httpx.Request:
    if token:
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _query(params: Mapping[str, Any] | None) -> httpx.QueryParams | None:
    pairs: list[tuple[str, str | int | float | bool | None]] = [*query_pairs(params)]
    return httpx.QueryParams(pairs) if pairs else None


def _headers(method: str, has_body: bool, key: str | None, prefer: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} if has_body else {}
    if method in ("POST", "PUT", "DELETE"):
        # What can't work is to be refused, with the reason, and so is a change of all that was not asked for.
        prefer = f"handling=strict, {prefer}" if prefer else "handling=strict"
    if method == "PATCH":
        # What can be applied is to be, and what was refused is read from the answer.
        prefer = f"handling=lenient, {prefer}" if prefer else "handling=lenient"
    if prefer:
        headers["Prefer"] = prefer
    if key is not None or method in ("POST", "PATCH"):
        headers["Idempotency-Key"] = key or str(uuid4())
    return headers


def _may_help(exc: ServerFault | ServerUnreachable) -> bool:
    if isinstance(exc, ServerFault):
        return retry.is_retried(exc.status)
    return not isinstance(exc, ServerUntrusted | NoBalsamServer)


def _sentence(response: httpx.Response) -> str | None:
    """The server's own; None where it is not a Balsam server's."""
    try:
        content = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    detail = content.get("detail", content.get("error")) if isinstance(content, dict) else content
    if isinstance(detail, list):
        return field_errors.sentences(detail, _num_items(response.request))
    return str(detail)


def _with_path(sentence: str, response: httpx.Response) -> str:
    """What was not found, where the server's sentence does not name it."""
    if sentence != "Not found":
        return sentence
    return f"{response.request.url.path} is not there: it was removed, never was, or is somebody else's"


def _num_items(request: httpx.Request) -> int:
    """How many objects were sent."""
    try:
        content = orjson.loads(request.content)
    except orjson.JSONDecodeError:  # no body, or a form
        return 1
    return len(content) if isinstance(content, list) else 1
