"""What a server costs that has nothing to do but to keep streams open."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from benchmarks.serving import Serving, cpu_sec

SETTLE_SEC = 3.0
MAX_HEAD_BYTES = 65_536


@contextmanager
def streams(server: Serving, count: int) -> Iterator[None]:
    """Open event streams that nobody reads: what the server sends fits into the sockets' buffers."""
    address = urlsplit(server.url)
    request = (
        f"GET /stream HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    )
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection((str(address.hostname), address.port or 80), timeout=10.0)
            opened.append(one)
            one.sendall(request.encode())
            _await_greeting(one)
        yield
        _check_open(opened)
    finally:
        for one in opened:
            one.close()


def _await_greeting(one: socket.socket) -> None:
    seen = b""
    while b"event: hello" not in seen:
        part = one.recv(MAX_HEAD_BYTES)
        if not part or len(seen) > MAX_HEAD_BYTES:
            raise SystemExit(f"the server did not open a stream: {seen[:200]!r}")
        seen += part


def _check_open(opened: list[socket.socket]) -> None:
    """A stream that the server has ended is readable without a byte in it."""
    with selectors.DefaultSelector() as selector:
        for one in opened:
            selector.register(one, selectors.EVENT_READ)
        for key, _ in selector.select(0):
            readable = key.fileobj
            assert isinstance(readable, socket.socket)
            if not readable.recv(1, socket.MSG_PEEK):
                raise SystemExit("the server has ended a stream while it was measured")


def cpu_percent(server: Serving, seconds: float) -> float:
    """Of one core, by all processes of the server over this time."""
    time.sleep(min(SETTLE_SEC, seconds))  # what opening the streams has left to do
    before, began = cpu_sec(server.processes()), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_sec(server.processes()) - before) / (time.monotonic() - began)


def resident_mb(server: Serving) -> float:
    """The memory of all processes of the server, in 2**20 bytes."""
    return float(sum(process.memory_info().rss for process in server.processes())) / 2**20
