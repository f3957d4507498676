"""Servers with certificates of a private authority: how they are trusted, and what is said if not."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from balsam.client import tls
from balsam.client.errors import ServerUnreachable, ServerUntrusted
from balsam.client.stream import follow
from balsam.client.transport import Client
from tests.services import free_port


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


Serve = Callable[[trustme.LeafCert | None], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers on loopback with a certificate, or without TLS; returns their ports."""
    servers: list[HTTPServer] = []

    def start(certificate: trustme.LeafCert | None) -> int:
        server = HTTPServer(("127.0.0.1", free_port()), _Answer)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_private_authority_is_trusted_when_it_is_named(
    serve: Serve, authority: trustme.CA, ca_file: Path
) -> None:
    port = serve(authority.issue_cert("127.0.0.1"))
    with Client(f"https://127.0.0.1:{port}", ca_file=ca_file) as client:
        assert client.get("/health") == {"status": "ok"}


def test_an_unknown_authority_names_the_remedy_at_once(serve: Serve, authority: trustme.CA) -> None:
    url = f"https://127.0.0.1:{serve(authority.issue_cert('127.0.0.1'))}"
    with (
        Client(url) as client,
        pytest.raises(ServerUntrusted, match=r"--ca-file FILE` of `balsam login`") as caught,
    ):
        client.get("/health")
    assert url in str(caught.value)


def test_a_certificate_for_another_name_says_so(serve: Serve, authority: trustme.CA, ca_file: Path) -> None:
    for names in (["balsam.example"], ["192.0.2.1"]):
        port = serve(authority.issue_cert(*names))
        with (
            Client(f"https://127.0.0.1:{port}", ca_file=ca_file) as client,
            pytest.raises(ServerUntrusted, match="is for another name"),
        ):
            client.get("/health")


def test_an_expired_certificate_says_so(serve: Serve, authority: trustme.CA, ca_file: Path) -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    port = serve(authority.issue_cert("127.0.0.1", not_after=past))
    with (
        Client(f"https://127.0.0.1:{port}", ca_file=ca_file) as client,
        pytest.raises(ServerUntrusted, match="must renew it"),
    ):
        client.get("/health")


def test_a_server_without_tls_says_so_and_gives_the_address_to_type(serve: Serve, ca_file: Path) -> None:
    port = serve(None)
    with (
        Client(f"https://127.0.0.1:{port}", ca_file=ca_file) as client,
        pytest.raises(ServerUntrusted, match="does not speak TLS") as caught,
    ):
        client.get("/health")
    assert str(caught.value).endswith(f"`balsam login -u http://127.0.0.1:{port}`")


def test_a_server_with_tls_that_is_asked_without_is_unreachable(serve: Serve, authority: trustme.CA) -> None:
    port = serve(authority.issue_cert("127.0.0.1"))
    with Client(f"http://127.0.0.1:{port}", retry_sec=0.1) as client, pytest.raises(ServerUnreachable):
        client.get("/health")


def test_streams_explain_themselves_too(serve: Serve, authority: trustme.CA) -> None:
    url = f"https://127.0.0.1:{serve(authority.issue_cert('127.0.0.1'))}"
    with Client(url) as client, pytest.raises(ServerUntrusted, match="--ca-file"):
        list(client.stream("/stream"))


def test_following_a_server_that_is_not_trusted_ends_at_once(serve: Serve, authority: trustme.CA) -> None:
    url = f"https://127.0.0.1:{serve(authority.issue_cert('127.0.0.1'))}"
    with Client(url) as client, pytest.raises(ServerUntrusted, match="--ca-file"):
        next(follow(client))


@pytest.mark.parametrize("content", [None, "nonsense", ""])
def test_a_ca_file_that_is_no_use_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OSError, match=r"--ca-file .*ca\.pem"):
        Client("https://server", ca_file=path)


@pytest.mark.parametrize(
    ("url", "readable"),
    [
        ("http://balsam.example/balsam", True),
        ("http://192.0.2.7:8000", True),
        ("http://[2001:db8::1]", True),
        ("https://balsam.example", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000", False),
    ],
)
def test_who_can_read_on_the_way(url: str, readable: bool) -> None:
    assert tls.is_readable(url) is readable
