"""What open event streams cost all else: many that are idle, and some whose readers take a byte a second.

    python benchmarks/streams.py [--quick] [--json FILE] [--engine postgresql|sqlite|both]

The reference is the same measurement without a stream, before and after. docs/benchmarks.md tells what each
row means.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from balsam.client.transport import Client
from benchmarks import idle, report, serving
from benchmarks.load import percentiles
from benchmarks.report import Row, less_is_better, unjudged

TIMES_AS_LONG = 2.0  # p95 of a request beside the streams, compared with one without them
MAX_ADDED_MB = 200.0
RECEIVE_BYTES = 4096  # as little as the system gives a reader: what it does not take stays at the server
SETTLE_SEC = 3.0


@dataclass(frozen=True)
class Load:
    """`backlog`: events that each slow reader is sent; `requests`: that are timed."""

    idle: int
    slow: int
    backlog: int
    requests: int


FULL = Load(idle=2_000, slow=50, backlog=50_000, requests=1_500)
QUICK = Load(idle=500, slow=20, backlog=10_000, requests=300)


def measure(engine: serving.Engine, load: Load) -> list[Row]:
    with engine.serve() as server, server.client() as client:
        cursor = _newest_cursor(server)
        _fill(client, load.backlog)
        before = _seconds(client, load.requests)
        alone_mb, alone_threads = idle.resident_mb(server), _threads(server)
        with idle.streams(server, load.idle), slow_readers(server, load.slow, cursor):
            time.sleep(SETTLE_SEC)
            beside = _seconds(client, load.requests)
            added_mb, threads = idle.resident_mb(server) - alone_mb, _threads(server) - alone_threads
            busy = _open_transactions(server) if server.engine == serving.POSTGRESQL else None
        after = _seconds(client, load.requests)
    alone_ms = 1e3 * percentiles(before + after)[95]
    beside_ms = 1e3 * percentiles(beside)[95]
    what = f"{engine.name}: beside {load.idle:,} idle streams and {load.slow} slow readers"
    rows = [
        less_is_better(
            f"{what}, p95 of GET /jobs/?limit=1", beside_ms, "ms", alone_ms, TIMES_AS_LONG * alone_ms
        ),
        less_is_better(f"{what}, memory", added_mb, "MB more", None, MAX_ADDED_MB),
        less_is_better(f"{what}, threads", threads, "more", None, None),
    ]
    if busy is not None:
        rows.append(less_is_better(f"{what}, open transactions", busy, "", None, 0))
    return rows


def _newest_cursor(server: serving.Serving) -> str:
    with server.client() as client:
        messages = client.stream("/stream", {})
        cursor = str(next(iter(messages)).data["cursor"])
        messages.close()  # type: ignore[attr-defined]
    return cursor


def _fill(client: Client, backlog: int) -> None:
    """Jobs, each with the event of its creation."""
    site = client.post("/sites/", {"name": "streams", "path": "/streams"})["id"]
    app = {"site_id": site, "name": "App", "serialized_class": "", "source_code": ""}
    job = {"app_id": client.post("/apps/", app)["id"], "workdir": "w"}
    for start in range(0, backlog, 5_000):
        client.post("/jobs/", [job] * min(5_000, backlog - start))


def _seconds(client: Client, requests: int) -> list[float]:
    """Of each request, on a warm connection."""
    for _ in range(20):
        client.get("/jobs/", {"limit": 1})
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        client.get("/jobs/", {"limit": 1, "count": "no"})
        took.append(time.perf_counter() - began)
    return took


def _threads(server: serving.Serving) -> int:
    return sum(process.num_threads() for process in server.processes())


def _open_transactions(server: serving.Serving) -> int:
    """Connections of the server that are inside a transaction now."""
    conn = server.connect()
    try:
        inside = (
            "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        )
        return int(conn.execute(f"{inside} AND application_name = 'balsam'").fetchone()[0])
    finally:
        conn.close()


@contextmanager
def slow_readers(server: serving.Serving, count: int, cursor: str) -> Iterator[None]:
    """Streams with all events since the cursor to read, of which each takes a byte a second."""
    address = urlsplit(server.url)
    request = (
        f"GET /stream?cursor={cursor} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    )
    stop = threading.Event()
    opened = [_connect(str(address.hostname), address.port or 80, request) for _ in range(count)]
    reader = threading.Thread(target=_read_slowly, args=(opened, stop), daemon=True)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
        for one in opened:
            one.close()


def _connect(host: str, port: int, request: str) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    one.connect((host, port))
    one.sendall(request.encode())
    return one


def _read_slowly(opened: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        for one in opened:
            one.recv(1)


def main() -> int:
    options = _options()
    engines: Sequence[str] = serving.ENGINES if options.engine == "both" else [options.engine]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder:
        for name in engines:
            with serving.engine(name, Path(folder)) as engine:
                rows += measure(engine, QUICK if options.quick else FULL)
    if options.quick:
        rows = [unjudged(row) for row in rows]
    return report.publish(rows, options.json, "without streams")


def _options() -> argparse.Namespace:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default="both")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
