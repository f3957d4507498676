"""A server that only answers: what a launcher asks is granted at once, and nothing is stored.

`GET /told` answers how many updates of jobs it has been sent.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import orjson

LEASE_SEC = 60.0
BEAT_SEC = 10.0


@contextmanager
def stub_server(app: Mapping[str, Any], job: Mapping[str, Any]) -> Iterator[str]:
    """Its URL. `app`: the record of the one app; `job`: that of a job, which all are like but for the id."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(app, job, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(app: Mapping[str, Any], job: Mapping[str, Any], link: Connection) -> None:
    asyncio.run(_Stub(app, job).serve(link))


class _Stub:
    def __init__(self, app: Mapping[str, Any], job: Mapping[str, Any]) -> None:
        self._app = app
        self._numbers = itertools.count(1)
        held = {**job, "id": 0, "app_version": app["version"]}
        self._job = orjson.dumps(held).replace(b"%", b"%%").replace(b'"id":0,', b'"id":%d,', 1)
        self._updates = 0

    async def serve(self, link: Connection) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=1 << 20)
        link.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                fields = {
                    name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if target.startswith("/stream"):
                    await _stream(writer)
                    return
                status, answer = self._answer(method, target.partition("?")[0], body)
                writer.write(
                    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % (status, status.phrase.encode(), len(answer))
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, method: str, path: str, body: bytes) -> tuple[HTTPStatus, bytes]:
        match method, path.strip("/").split("/"):
            case "PATCH", ["jobs"]:
                count = len(orjson.loads(body))
                self._updates += count
                return HTTPStatus.OK, orjson.dumps({"applied": count, "refused": []})
            case "POST", ["sessions", _]:
                wanted = range(orjson.loads(body)["max_num_jobs"])
                return HTTPStatus.OK, b"[" + b",".join(self._job % next(self._numbers) for _ in wanted) + b"]"
            case "POST", ["sessions"]:
                opened = {"id": 1, "lease_sec": LEASE_SEC, "heartbeat": datetime.now(UTC)}
                return HTTPStatus.CREATED, orjson.dumps(opened)
            case "PUT", ["sessions", _]:
                held = orjson.loads(body).get("job_ids")
                now = int(time.time() * 1e6)
                return HTTPStatus.OK, orjson.dumps({"in_step": True, "job_ids": held, "server_time_us": now})
            case "GET", ["apps"]:
                return HTTPStatus.OK, orjson.dumps({"count": None, "results": [self._app]})
            case "GET", ["apps", "newest"]:
                return HTTPStatus.OK, orjson.dumps({"versions": [[self._app["id"], self._app["version"]]]})
            case "GET", ["told"]:
                return HTTPStatus.OK, orjson.dumps({"updates": self._updates})
            case ("DELETE", _) | ("PUT", ["sessions", _, "ending"]):
                return HTTPStatus.NO_CONTENT, b""
        return HTTPStatus.NOT_FOUND, b'{"detail": "this stub does not know that"}'


async def _stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    writer.write(b'event: hello\ndata: {"cursor": "0"}\n\n')
    while True:
        await writer.drain()
        await asyncio.sleep(BEAT_SEC)
        writer.write(b": beat\n\n")
