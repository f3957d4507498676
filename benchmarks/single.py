"""Single answers: their median time through the SDK, and that of what they are made of."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from balsam.api import Job
from balsam.client.transport import Client
from balsam.sdk.context import use_client
from balsam.server import daemon
from benchmarks import serving
from benchmarks.bulk import look_at, timed


def median_ms(act: Callable[[], Any], repeats: int) -> float:
    """Of so many calls, after a tenth of that to warm up."""
    for _ in range(max(1, repeats // 10)):
        act()
    return 1e3 * statistics.median(timed(act) for _ in range(repeats))


def get_one(client: Client, repeats: int) -> float:
    """Milliseconds of `GET /jobs/?limit=1` as the SDK sends it."""

    def act() -> None:
        assert Job.objects.first() is not None

    with use_client(client):
        return median_ms(act, repeats)


def count(client: Client, tags: dict[str, str], expected: int, repeats: int) -> float:
    """Milliseconds of `count()`."""

    def act() -> None:
        found = Job.objects.filter(tags=tags).count()
        if found != expected:
            raise SystemExit(f"{found} jobs have {tags} instead of {expected}")

    with use_client(client):
        return median_ms(act, repeats)


def newest(client: Client, site_id: int, number: int, repeats: int) -> float:
    """Milliseconds until the newest jobs of a site are there as objects."""

    def act() -> None:
        found = look_at(list(Job.objects.filter(site_id=site_id).order_by("-id")[:number]))
        if len(found) != number or found[0].id < found[-1].id:
            raise SystemExit(f"{len(found)} jobs came instead of the newest {number}")

    with use_client(client):
        return median_ms(act, repeats)


def bare_select(server: serving.Serving, statement: str, repeats: int) -> float:
    """Milliseconds of a query and its rows by the driver alone."""
    conn = server.connect()
    try:
        return median_ms(lambda: conn.execute(statement).fetchall(), repeats)
    finally:
        conn.close()


ONE_JOB = "SELECT * FROM jobs WHERE owner_id = 1 ORDER BY id LIMIT 1"


def newest_statement(site_id: int, number: int) -> str:
    return f"SELECT * FROM jobs WHERE site_id = {site_id} ORDER BY id DESC LIMIT {number}"


def count_statement(tags: dict[str, str]) -> str:
    chosen = [
        f"SELECT job_id FROM job_tags WHERE owner_id = 1 AND key = '{k}' AND value = '{v}'"
        for k, v in tags.items()
    ]
    return f"SELECT count(*) FROM ({' INTERSECT '.join(chosen)}) AS found"


ECHO = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        head = [(b"content-type", b"application/json"), (b"content-length", b"1500")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"[" + b" " * 1498 + b"]"})
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
"""


def bare_http(repeats: int) -> float:
    """Milliseconds of an answer of 1,500 bytes by the same HTTP libraries, with nothing behind them."""
    port = daemon.free_port()
    child = subprocess.Popen([sys.executable, "-c", ECHO, str(port)], stdin=subprocess.DEVNULL)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=100)) as client:
            url = f"http://{daemon.HOST}:{port}/"
            deadline = time.monotonic() + 20
            while not _answers(client, url) and time.monotonic() < deadline:
                time.sleep(0.05)
            return median_ms(lambda: client.get(url).raise_for_status(), repeats)
    finally:
        child.terminate()
        child.wait()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False
