"""A server behind a reverse proxy that shows it below a sub-path."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from balsam.client.stream import follow
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User, free_port, new_user
from tests.waiting import wait_until

PREFIX = "/balsam"
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"host"}


class ReverseProxy:
    """As nginx does it: forwards what is below the prefix, says for whom, and answers as it comes.

    `strips`: whether it cuts the prefix off (`proxy_pass http://server/`) or hands the path on as it is.
    """

    def __init__(self, target: str, *, strips: bool) -> None:
        self._target = target
        self._strips = strips
        self._http = httpx.AsyncClient(timeout=60)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._http.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["raw_path"].decode()
        if not path.startswith(PREFIX + "/"):
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"outside"})
            return
        request = self._http.build_request(
            scope["method"],
            httpx.URL(self._target + (path.removeprefix(PREFIX) if self._strips else path)).copy_with(
                query=scope["query_string"]
            ),
            headers=[(k, v) for k, v in scope["headers"] if k not in HOP_BY_HOP]
            + [
                (b"host", b"science.example"),
                (b"x-forwarded-proto", b"https"),
                (b"x-forwarded-for", b"192.0.2.7"),
            ],
            content=_body(receive),
        )
        answer = await self._http.send(request, stream=True)
        headers = [(k, v) for k, v in answer.headers.raw if k.lower() not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        try:
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            await answer.aclose()
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


@contextmanager
def proxied(server: PasswordServer, *, strips: bool) -> Iterator[str]:
    """The URL below which a proxy shows the server."""
    port = free_port()
    config = uvicorn.Config(
        ReverseProxy(server.url, strips=strips),
        port=port,
        log_level="error",
        timeout_graceful_shutdown=1,
        proxy_headers=False,
    )
    proxy = uvicorn.Server(config)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    wait_until(lambda: proxy.started)
    yield f"http://127.0.0.1:{port}{PREFIX}"
    proxy.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    with PasswordServer(new_database(), root_path=PREFIX, access_log=True) as server:
        yield server


@pytest.fixture(scope="module", params=[True, False], ids=["stripped", "whole path"])
def url(server: PasswordServer, request: pytest.FixtureRequest) -> Iterator[str]:
    with proxied(server, strips=request.param) as url:
        yield url


@pytest.fixture
def user(url: str) -> Iterator[User]:
    made = new_user(url)
    yield made
    made.client.close()


def test_the_client_works_below_the_path(user: User, url: str) -> None:
    assert user.client.api_root == url
    lab = Lab(user.client, hooks=[])
    [job] = lab.create(tags={"a": "b:c"})
    session = lab.session()
    assert lab.acquire(session) == [job]
    lab.run(session, [job])
    assert lab.state(job) == "JOB_FINISHED"
    assert user.client.get("/jobs/", {"tags": ["a:b:c"]})["count"] == 1


def test_an_added_slash_leads_below_the_path_without_a_guess_at_scheme_and_host(user: User, url: str) -> None:
    headers = {"authorization": f"Bearer {user.token}"}
    answer = asking.get(f"{url}/jobs?limit=3", headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (307, f"{PREFIX}/jobs/?limit=3")
    assert asking.get(f"{url}/jobs?limit=3", headers=headers, follow_redirects=True).status_code == 200


def test_the_document_names_the_path(url: str) -> None:
    assert asking.get(f"{url}/openapi.json").json()["servers"] == [{"url": PREFIX}]


def test_the_stream_comes_through(user: User) -> None:
    lab = Lab(user.client, hooks=[])
    stop = threading.Event()
    messages = follow(user.client, "/stream", {"to_state": ["PREPROCESSED"]}, stop)
    assert next(messages).name == "hello"
    [job] = lab.create()
    events = next(message for message in messages if message.name == "events")
    assert [event["job_id"] for event in events.data] == [job]
    stop.set()
    messages.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("trusted", "told"), [(["127.0.0.1"], "192.0.2.7"), ([], "127.0.0.1")])
def test_an_address_is_believed_from_a_trusted_proxy_only(
    new_database: Callable[[], str], caplog: pytest.LogCaptureFixture, trusted: list[str], told: str
) -> None:
    caplog.set_level("INFO", "balsam.access")
    options = {"root_path": PREFIX, "access_log": True, "trusted_proxies": tuple(trusted)}
    with PasswordServer(new_database(), **options) as server, proxied(server, strips=False) as url:
        asking.get(f"{url}/healthz")
        wait_until(lambda: "/healthz" in caplog.text)
    assert f"{told} GET '/balsam/healthz' 200" in caplog.text
