"""Proxies: none for this machine; elsewhere each error names the proxy and the variable that it came from."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from balsam.client.address import address_of
from balsam.client.errors import BadAddress, ClientError, NoBalsamServer, ServerFault, UnusableProxy
from balsam.client.stream import follow
from balsam.client.transport import Client
from tests.services import User, free_port

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class _Page(BaseHTTPRequestHandler):
    """Answers all with a page, as a proxy does that can't or won't: the path's last part is the status."""

    def do_GET(self) -> None:
        body = b"<html><title>Access denied</title><h1>Call the helpdesk</h1></html>"
        self.send_response(int(self.path.rpartition("/")[2].partition("?")[0] or 200))
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("value", ["http://127.0.0.1:9", "nonsense://", "socks5://127.0.0.1:9"])
def test_a_server_on_this_machine_is_reached(
    monkeypatch: pytest.MonkeyPatch, user: User, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with Client(user.client.api_root, user.token, retry_sec=0) as client:
        assert client.get("/health")["status"] == "ok"
        messages = follow(client)
        assert next(messages).name == "hello"
        messages.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("http://lab.example", "http_proxy"),
        ("http://lab.example", "ALL_PROXY"),
        ("https://lab.example", "HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, variable: str
) -> None:
    port = free_port()
    monkeypatch.setenv(variable, f"http://me:secret@127.0.0.1:{port}")
    with Client(url, retry_sec=0) as client, pytest.raises(ClientError) as caught:
        client.get("/health")
    told = str(caught.value)
    assert f"through the proxy http://127.0.0.1:{port} that {variable} names (Connection refused)" in told
    assert "name lab.example in no_proxy" in told and "secret" not in told


def test_a_malformed_proxy_and_one_without_its_package_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks9://h")
    with (
        Client("http://lab.example") as client,
        pytest.raises(UnusableProxy, match="variable http_proxy holds"),
    ):
        client.get("/health")
    monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{free_port()}")
    told = "Connection refused" if importlib.util.find_spec("socksio") else "pip install socksio"
    with Client("http://lab.example", retry_sec=0) as client, pytest.raises(ClientError, match=told):
        client.get("/health")


@pytest.mark.parametrize("status", [200, 302, 403, 407, 502, 503])
def test_a_page_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, pages: str, status: int) -> None:
    monkeypatch.setenv("http_proxy", pages)
    with Client("http://lab.example", retry_sec=0) as client, pytest.raises(ClientError) as caught:
        client.post(f"/{status}", {})
    told = str(caught.value)
    assert str(status) in told and "helpdesk" not in told and "<" not in told
    assert isinstance(caught.value, ServerFault if status >= 500 else NoBalsamServer)
    with (
        Client("http://lab.example", retry_sec=0) as client,
        pytest.raises(ClientError, match=r"lab\.example"),
    ):
        list(client.stream(f"/{status}"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("lab.example", "https://lab.example"),
        ("lab.example:8443/balsam/", "https://lab.example:8443/balsam"),
        (" HTTPS://Lab.Example:443/ ", "https://lab.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("[::1]:8000", "https://[::1]:8000"),
    ],
)
def test_an_address_without_a_scheme_is_one_with_tls(text: str, address: str) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "https://", "ftp://lab", "lab:port", "lab:99999", "http://[::1", "me:pw@lab", "a b", "lab?x=1"],
)
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(BadAddress, match="is no address of a server"):
        address_of(text)
