"""Requests: what is repeated, what is raised at once, and with which words."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from balsam.client import retry
from balsam.client.errors import (
    AuthError,
    ClientError,
    NotFoundError,
    ServerFault,
    ServerRefused,
    ServerUnreachable,
)
from balsam.client.rest_base_client import AuthError as PublishedAuthError
from balsam.client.transport import Client
from tests.services import PasswordServer, User, free_port


class Script(httpx.BaseTransport):
    """Answers requests from a list: statuses, or exceptions to raise; keeps what was asked."""

    def __init__(self, *steps: int | Exception) -> None:
        self.steps = list(steps)
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step, json={"detail": f"said {step}"} if step >= 300 else [1])


def scripted(*steps: int | Exception, retry_sec: float = 5.0) -> tuple[Client, Script]:
    script = Script(*steps)
    return Client("http://server", "token", transport=script, retry_sec=retry_sec), script


@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_a_refusal_is_raised_at_once_with_the_servers_sentence(status: int) -> None:
    client, script = scripted(status)
    with pytest.raises(ServerRefused, match=f"^said {status}$") as caught:
        client.post("/x", {})
    assert caught.value.status == status and len(script.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_fault_is_asked_again_with_the_same_key(status: int) -> None:
    client, script = scripted(status, status, 200)
    assert client.post("/x", {"a": 1}) == [1]
    keys = {request.headers["Idempotency-Key"] for request in script.asked}
    assert len(script.asked) == 3 and len(keys) == 1
    UUID(keys.pop())


def test_a_cut_connection_is_asked_again() -> None:
    client, script = scripted(httpx.RemoteProtocolError("gone"), httpx.ReadTimeout("slow"), 200)
    assert client.get("/x") == [1]
    assert len(script.asked) == 3


def test_each_request_has_a_key_of_its_own_unless_given() -> None:
    client, script = scripted(200, 200, 200, 200)
    client.post("/x", {})
    client.patch("/x", [])
    client.post("/x", {}, key="mine")
    client.get("/x")
    keys = [request.headers.get("Idempotency-Key") for request in script.asked]
    assert keys[0] != keys[1] and keys[2:] == ["mine", None]
    assert {request.headers["Authorization"] for request in script.asked} == {"Bearer token"}


def test_a_fault_that_stays_is_raised_after_a_bounded_time() -> None:
    client, script = scripted(*[503] * 1000, retry_sec=0.3)
    start = time.monotonic()
    with pytest.raises(ServerFault, match="503: said 503"):
        client.get("/x")
    assert time.monotonic() - start < 2 and 2 <= len(script.asked) < 20


def test_a_fault_that_will_not_change_is_raised_at_once() -> None:
    client, script = scripted(501)
    with pytest.raises(ServerFault):
        client.get("/x")
    assert len(script.asked) == 1


def test_pauses_grow_to_a_limit() -> None:
    pauses = [retry.pause(attempt, jitter=1.0) for attempt in range(12)]
    assert pauses[0] == 0 and pauses == sorted(pauses) and pauses[-1] == retry.LONGEST_PAUSE_SEC
    assert retry.pause(3, jitter=0.0) == retry.pause(3, jitter=1.0) / 2


def test_nobody_listening_names_url_and_remedy() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retry_sec=0.2) as client, pytest.raises(ServerUnreachable) as caught:
        client.get("/health")
    assert url in str(caught.value) and "balsam server status" in str(caught.value)
    assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, ClientError)


def test_an_unknown_name_and_a_silent_server_are_named_with_what_helps() -> None:
    unknown = httpx.ConnectError("[Errno -2] Name or service not known")
    unknown.__cause__ = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    client, _ = scripted(unknown, retry_sec=0)
    with pytest.raises(
        ServerUnreachable, match=r"name can't be found: Name or service not known\): check the"
    ):
        client.get("/x")
    client, _ = scripted(httpx.ReadTimeout("timed out"), retry_sec=0)
    with pytest.raises(ServerUnreachable, match="it takes connections and is silent"):
        client.get("/x")


@pytest.mark.parametrize("token", ["none", None])
def test_a_login_that_is_not_valid_names_the_remedy(
    password_server: PasswordServer, token: str | None
) -> None:
    with (
        Client(password_server.url, token) as client,
        pytest.raises(AuthError, match=r"is not valid \(any more\): run `balsam login`") as caught,
    ):
        client.get("/sites/")
    assert password_server.url in str(caught.value) and AuthError is PublishedAuthError


def test_the_servers_own_words_arrive(client: Client) -> None:
    with pytest.raises(NotFoundError) as missing:
        client.get("/sites/999999")
    assert missing.value.status == 404
    with pytest.raises(ServerRefused, match="path") as invalid:
        client.post("/sites/", {"name": "x", "path": "relative"})
    assert invalid.value.status == 422
    client.post("/sites/", {"name": "twice", "path": "/x"})
    with pytest.raises(ServerRefused, match="name already exists"):
        client.post("/sites/", {"name": "twice", "path": "/x"})


def test_the_same_key_makes_one_object(client: Client) -> None:
    body = {"name": "once", "path": "/x"}
    first = client.post("/sites/", body, key="k")
    assert client.post("/sites/", body, key="k")["id"] == first["id"]
    assert client.get("/sites/", {"name": "once"})["count"] == 1


def test_password_login_by_form(password_server: PasswordServer, user: User) -> None:
    with Client(password_server.url) as client:
        answer = client.post_form("/auth/password/login", {"username": user.name, "password": user.password})
        assert answer["token_type"] == "bearer"
        with pytest.raises(AuthError):
            client.post_form("/auth/password/login", {"username": user.name, "password": "wrong"})


def test_deletes_and_empty_answers(client: Client) -> None:
    site = client.post("/sites/", {"name": "gone", "path": "/x"})
    assert client.delete(f"/sites/{site['id']}") is None
    assert client.get("/health")["status"] == "ok"


def test_what_json_does_not_know_is_named(client: Client) -> None:
    with pytest.raises(TypeError, match="a object is not JSON"):
        client.post("/sites/", {"name": object()})


def test_a_certificate_that_nobody_here_trusts_is_not_asked_again() -> None:
    client, script = scripted(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(ServerUnreachable, match="--ca-file"):
        client.get("/x")
    assert len(script.asked) == 1


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(OSError, match=r".+"):
        Client("https://server", ca_file=tmp_path / "ca.pem")


def test_a_closed_client_says_so(client: Client) -> None:
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/health")
