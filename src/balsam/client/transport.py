"""The only home of the HTTP library: requests with login, bounded retry and errors as one tree."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import orjson

from balsam.client import field_errors, retry, sse, tls
from balsam.client.credentials import Credentials, FixedToken
from balsam.client.encoding import json_body, query_pairs
from balsam.client.errors import (
    AuthError,
    NotFoundError,
    ServerFault,
    ServerRefused,
    ServerUnreachable,
    ServerUntrusted,
)
from balsam.client.feed import Feed
from balsam.client.sse import ServerSentEvent

RENEW_SEC = 20.0
BEAT_LIMIT_SEC = 45.0  # the server beats every 15 s; three missed and the stream counts as cut


@dataclass(frozen=True)
class Answer:
    """A parsed answer with its headers; `body` is None where the server sent none."""

    body: Any
    headers: Mapping[str, str]


class Client:
    """One user's (or site's) connection to one server. Thread safe; close it, or use it in a `with`.

    `token`, or `credentials` that know how to renew one, are sent with each request.
    `retry_sec`: how long a request that may be repeated is repeated, in all, before it raises.
    `ca_file`: certificates of a private authority; proxies come from the usual environment variables.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.api_root = api_root.rstrip("/")
        self.key = uuid4().hex  # tells clients of one process apart, whoever they act for
        self.retry_sec = retry_sec
        self._timeout = httpx.Timeout(read_timeout, connect=connect_timeout)
        self._credentials = credentials or FixedToken(token)
        self._http = httpx.Client(
            timeout=self._timeout,
            verify=tls.verification(self.api_root, ca_file),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0),
            transport=transport,
        )
        self._feed: Feed | None = None
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
        self._http.close()

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
        return self._send(self._http.build_request("POST", self.api_root + path, data=dict(form))).body

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        prefer: str | None = None,
    ) -> Answer:
        """One request, repeated while it may help; raises a ClientError.

        `prefer`: a further preference of RFC 7240.
        """
        request = self._http.build_request(
            method,
            self.api_root + path,
            params=_query(params),
            content=None if body is None else json_body(body),
            headers=_headers(method, body is not None, key, prefer),
        )
        return self._repeat(request)

    def _repeat(self, request: httpx.Request) -> Answer:
        give_up = time.monotonic() + self.retry_sec
        for attempt in range(10**6):
            try:
                return self._send(request)
            except (ServerFault, ServerUnreachable) as exc:
                pause = retry.pause(attempt)
                if time.monotonic() + pause > give_up or not _may_help(exc):
                    raise
                time.sleep(pause)
        raise AssertionError("the loop above returns or raises")

    def _send(self, request: httpx.Request) -> Answer:
        try:
            response = self._exchange(request)
        except httpx.TransportError as exc:
            raise self._unreachable(exc) from exc
        self._raise_for(response)
        return Answer(orjson.loads(response.content) if response.content else None, response.headers)

    def _exchange(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Sends it with the login's token; if that was refused, once more with a newer one."""
        token = self._credentials.token(self._renew)
        response = self._http.send(_authorized(request, token), stream=stream)
        if response.status_code == 401 and token is not None:
            newer = self._credentials.after_refusal(token, self._renew)
            if newer is not None:
                response.close()
                response = self._http.send(_authorized(request, newer), stream=stream)
        return response

    def _renew(self, refresh_token: str) -> dict[str, Any]:
        # Much less than the minute in which a refresh token whose answer was lost serves again.
        form = {"refresh_token": refresh_token}
        timeout = httpx.Timeout(RENEW_SEC, connect=self._timeout.connect)
        request = self._http.build_request(
            "POST", self.api_root + "/auth/refresh", data=form, timeout=timeout
        )
        try:
            response = self._http.send(request)
        except httpx.TransportError as exc:
            raise self._unreachable(exc) from exc
        self._raise_for(response)
        answer: dict[str, Any] = orjson.loads(response.content)
        return answer

    def _raise_for(self, response: httpx.Response) -> None:
        status = response.status_code
        if status < 300:
            return
        sentence = _sentence(response)
        if status == 429 or status >= 500:
            raise ServerFault(status, sentence, response.headers.get("x-request-id"))
        if status == 401:
            raise AuthError(self.api_root, sentence)
        if status == 404:
            raise NotFoundError(status, sentence)
        raise ServerRefused(status, sentence)

    def _unreachable(self, exc: httpx.TransportError) -> ServerUnreachable:
        reason = str(exc) or type(exc).__name__
        remedy = tls.remedy(exc)
        return (
            ServerUntrusted(self.api_root, reason, remedy)
            if remedy
            else ServerUnreachable(self.api_root, reason)
        )

    def stream(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[ServerSentEvent]:
        """Messages of one connection, `beat`s included, until it ends; a ClientError when it breaks."""
        timeout = httpx.Timeout(BEAT_LIMIT_SEC, connect=self._timeout.connect)
        request = self._http.build_request(
            "GET",
            self.api_root + path,
            params=_query(params),
            headers={"Accept": "text/event-stream"},
            timeout=timeout,
        )
        try:
            with closing(self._exchange(request, stream=True)) as response:
                if response.status_code >= 300:
                    response.read()
                    self._raise_for(response)
                yield from sse.parse(response.iter_lines())
        except httpx.TransportError as exc:
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
    return not isinstance(exc, ServerUntrusted)


def _sentence(response: httpx.Response) -> str:
    try:
        content = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return response.text.strip()[:500] or response.reason_phrase
    detail = content.get("detail", content.get("error")) if isinstance(content, dict) else content
    if isinstance(detail, list):
        return field_errors.sentences(detail, _num_items(response.request))
    return str(detail)


def _num_items(request: httpx.Request) -> int:
    """How many objects were sent."""
    try:
        content = orjson.loads(request.content)
    except orjson.JSONDecodeError:  # no body, or a form
        return 1
    return len(content) if isinstance(content, list) else 1
