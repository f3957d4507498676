"""Sites that send what an agent and its launcher send, from one process: timed requests on kept connections.

The client is a few lines on asyncio's streams: a full HTTP library would take as much of the processor as the
server that is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import orjson
import psutil

from balsam.core import digest
from balsam.core.clock import from_us, now_us
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, JobState

REQUESTS_PER_SEC = 9
CREATED_AT_ONCE, ACQUIRED_AT_ONCE = 6, 3
LISTED = 100
# Two seconds of a site whose launcher runs six short jobs a second: each is created, acquired, started and
# ended, beside heartbeats and looks at the lists.
ROUND = (
    *("create", "acquire", "start", "end", "acquire", "start", "end", "beat", "batch_jobs"),
    *("create", "acquire", "start", "end", "acquire", "start", "end", "beat", "jobs"),
)


@dataclass(frozen=True)
class Plan:
    """One site: its token and what its requests name."""

    url: str
    token: str
    site_id: int
    job: dict[str, Any]  # the body that creates one


@dataclass
class Told:
    """What the sites of one process saw. `ms`: of each route, from when a request was due to its answer."""

    ms: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    cpu_sec: float = 0.0

    def add(self, other: Told) -> None:
        for route, times in other.ms.items():
            self.ms.setdefault(route, []).extend(times)
        self.errors += other.errors
        self.cpu_sec += other.cpu_sec


def live(plans: Sequence[Plan], seconds: float, with_stream: bool, link: Connection) -> None:
    """For a process of its own: says when the sites are ready, hears when they begin, sends what they saw."""
    told = Told()
    asyncio.run(_live(plans, seconds, with_stream, link, told))
    link.send(told)


async def _live(
    plans: Sequence[Plan], seconds: float, with_stream: bool, link: Connection, told: Told
) -> None:
    sites = [_Site(plan, told) for plan in plans]
    listeners = []
    for site in sites:
        await site.open()
        if with_stream:
            listeners.append(asyncio.create_task(site.listen()))
    link.send("ready")
    start = time.monotonic() + float(link.recv()) - time.time()
    cpu_before = sum(psutil.Process().cpu_times()[:2])
    offsets = [place / len(sites) / REQUESTS_PER_SEC for place in range(len(sites))]
    await asyncio.gather(
        *(site.live(start + offset, seconds) for site, offset in zip(sites, offsets, strict=True))
    )
    told.cpu_sec = sum(psutil.Process().cpu_times()[:2]) - cpu_before
    for listener in listeners:
        listener.cancel()


class _Site:
    def __init__(self, plan: Plan, told: Told) -> None:
        self._plan = plan
        self._told = told
        self._address = urlsplit(plan.url)
        self._session_id = 0
        self._acquired: deque[list[int]] = deque()
        self._running: deque[list[int]] = deque()
        self._held: set[int] = set()

    async def open(self) -> None:
        self._reader, self._writer = await self._connect()
        opened = await self._send(
            "POST", "/sessions/", {"site_id": self._plan.site_id, "fenced": True, "num_nodes": 1}
        )
        self._session_id = opened["id"]

    async def live(self, start: float, seconds: float) -> None:
        for number, step in enumerate(itertools.cycle(ROUND)):
            due = start + number / REQUESTS_PER_SEC
            if due >= start + seconds:
                return
            await asyncio.sleep(due - time.monotonic())
            if time.monotonic() > start + seconds:
                return  # what is left was never sent: the rate tells
            try:
                route = await getattr(self, f"_{step}")()
            except (OSError, asyncio.IncompleteReadError, RuntimeError) as exc:
                self._told.errors.append(f"{step}: {exc!r}"[:300])
                self._reader, self._writer = await self._connect()
            else:
                self._told.ms.setdefault(route, []).append(1e3 * (time.monotonic() - due))

    async def listen(self) -> None:
        """Holds the stream of an agent, reading what comes."""
        reader, writer = await self._connect()
        writer.write(self._head("GET", f"/stream?site_id={self._plan.site_id}", b""))
        while await reader.read(65_536):
            pass

    # ---- requests ----

    async def _create(self) -> str:
        await self._send("POST", "/jobs/", [self._plan.job] * CREATED_AT_ONCE)
        return f"POST /jobs/ ({CREATED_AT_ONCE} jobs)"

    async def _acquire(self) -> str:
        body = {"max_num_jobs": ACQUIRED_AT_ONCE, "max_wall_time_min": 60.0, "filter_tags": {}}
        rows = await self._send("POST", f"/sessions/{self._session_id}", body)
        ids = [row["id"] for row in rows]
        self._acquired.append(ids)
        self._held.update(ids)
        return f"POST /sessions/N (acquire {ACQUIRED_AT_ONCE})"

    async def _start(self) -> str:
        ids = self._acquired.popleft() if self._acquired else []
        self._running.append(ids)
        data = {"num_nodes": 1.0, "nodes": ["localhost"], "cpus": 1.0, "gpus": 0}
        return await self._report(ids, JobState.running, data)

    async def _end(self) -> str:
        ids = self._running.popleft() if self._running else []
        self._held.difference_update(ids)
        return await self._report(ids, JobState.run_done, {"returncode": 0}, return_code=0)

    async def _report(self, ids: list[int], state: JobState, data: dict[str, Any], **fields: Any) -> str:
        if not ids:  # nothing was to be had: as a launcher that waits, it only beats
            return await self._beat()
        stamp = from_us(now_us()).isoformat()
        about = {"state": state, "state_timestamp": stamp, "state_data": data, **fields}
        path = f"/jobs/?session_id={self._session_id}"
        applied = await self._send("PATCH", path, [{"id": job_id, **about} for job_id in ids])
        if applied != len(ids):
            raise RuntimeError(f"{applied} of {len(ids)} updates to {state} were applied")
        return f"PATCH /jobs/ ({ACQUIRED_AT_ONCE} jobs)"

    async def _beat(self) -> str:
        await self._send("PUT", f"/sessions/{self._session_id}", {"digest": digest.of_ids(self._held)})
        return "PUT /sessions/N (heartbeat)"

    async def _batch_jobs(self) -> str:
        states = [("state", state) for state in sorted(ACTIVE_BATCH_JOB_STATES)]
        query = urlencode([("site_id", self._plan.site_id), *states, ("count", "no"), ("limit", 1_000)])
        await self._send("GET", f"/batch-jobs/?{query}")
        return "GET /batch-jobs/"

    async def _jobs(self) -> str:
        query = urlencode({"site_id": self._plan.site_id, "ordering": "-id", "count": "no", "limit": LISTED})
        await self._send("GET", f"/jobs/?{query}")
        return f"GET /jobs/ (newest {LISTED})"

    # ---- HTTP ----

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._address.hostname, self._address.port, limit=2**20)

    def _head(self, method: str, path: str, content: bytes) -> bytes:
        return (
            f"{method} {self._address.path}{path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Authorization: Bearer {self._plan.token}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {uuid4()}\r\nContent-Length: {len(content)}\r\n\r\n"
        ).encode()

    async def _send(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else orjson.dumps(body)
        self._writer.write(self._head(method, path, content) + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        status = int(head[9:12])
        if status >= 300:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {status} {answer[:200]!r}")
        return orjson.loads(answer)
