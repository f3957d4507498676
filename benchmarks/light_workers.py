"""The workers of a simulated allocation in one process: their jobs are timers.

It stands in for an MPI launcher's program (`install` makes it one), so a real leader starts it as it would
start its workers: the last word is the leader's file. For each node it keeps a connection of its own and says
what a real worker says (see `balsam.launcher.worker`).

LIGHT_JOB_SEC: how long each job takes; LIGHT_TOLD: the file of samples, one JSON list a line.
"""

from __future__ import annotations

import heapq
import os
import selectors
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from balsam.core.clock import now_us
from balsam.launcher.rendezvous import Rendezvous
from balsam.runtime.frames import FrameReader, frame

BEAT_SEC = 2.0
SAMPLE_SEC = 0.2
PROGRAM = "mpiexec.hydra"


@dataclass(frozen=True, slots=True)
class Sample:
    """What had happened by a time (of `time.time()`). `busy_sec`: of all slots together, since the start."""

    at: float
    running: int
    started: int
    ended: int
    busy_sec: float

    @classmethod
    def all_in(cls, path: Path) -> list[Self]:
        if not path.exists():
            return []
        return [
            cls(**orjson.loads(line))
            for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]


def install(folder: Path, names: Sequence[str], job_sec: float, told: Path) -> dict[str, str]:
    """Makes a folder with the program; the environment of a PBS allocation of these nodes that uses it."""
    folder.mkdir(parents=True)
    program = folder / PROGRAM
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    (folder / "nodes").write_text("".join(f"{name}\n" for name in names))
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PBS_NODEFILE": str(folder / "nodes"),
        "LIGHT_JOB_SEC": str(job_sec),
        "LIGHT_TOLD": str(told),
    }


@dataclass(eq=False, slots=True)
class _Node:
    link: socket.socket
    incoming: FrameReader = field(default_factory=FrameReader)
    messages: list[list[Any]] = field(default_factory=list)


class LightWorkers:
    """Serves the leader for all of its nodes until it says that it is over."""

    def __init__(self, meeting: Rendezvous, job_sec: float, told: Path) -> None:
        self._job_sec = job_sec
        self._told = told.open("ab", buffering=0)
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, _Node]] = []
        self._started = self._ended = 0
        self._busy_sec = 0.0
        self._counted_at = self._next_sample = self._next_beat = time.time()
        self._nodes: set[_Node] = set()
        for name in meeting.nodes:
            node = _Node(meeting.connect(), messages=[["joined", name]])
            self._nodes.add(node)
            self._selector.register(node.link, selectors.EVENT_READ, node)
            self._send(node)

    def serve(self) -> None:
        while self._nodes:
            for key, _ in self._selector.select(self._timeout()):
                self._read(key.data)
            self._count()
            self._end_what_is_over()
            self._keep_alive()
            for node in self._nodes:
                self._send(node)

    def _timeout(self) -> float:
        due = min(self._next_beat, self._next_sample, self._timers[0][0] if self._timers else self._next_beat)
        return max(0.0, due - time.time())

    def _read(self, node: _Node) -> None:
        data = node.link.recv(1 << 18)
        if not data:
            self._forget(node)
        for body in node.incoming.feed(data):
            for message in orjson.loads(body):
                self._obey(node, message)

    def _obey(self, node: _Node, message: Mapping[str, Any]) -> None:
        match message["do"]:
            case "start":
                heapq.heappush(self._timers, (time.time() + self._job_sec, message["job_id"], node))
                self._count()
                self._started += 1
                node.messages.append(["started", message["job_id"], now_us()])
            case "signal":
                self._count()
                mine = [timer for timer in self._timers if timer[1] == message["job_id"]]
                for timer in mine:
                    self._timers.remove(timer)
                    self._end(timer, -message["number"])
                heapq.heapify(self._timers)
            case "end":
                self._forget(node)

    def _end_what_is_over(self) -> None:
        now = time.time()
        while self._timers and self._timers[0][0] <= now:
            self._end(heapq.heappop(self._timers), 0)

    def _end(self, timer: tuple[float, int, _Node], code: int) -> None:
        self._ended += 1
        timer[2].messages.append(["ended", timer[1], code, now_us(), "", None, 0, False])

    def _count(self) -> None:
        """Slots are busy from the start of a job's timer to when its end is told."""
        now = time.time()
        self._busy_sec += (now - self._counted_at) * (self._started - self._ended)
        self._counted_at = now

    def _keep_alive(self) -> None:
        now = time.time()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SEC
            for node in self._nodes:
                node.messages.append(["beat"])
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SEC
            running = self._started - self._ended
            sample = Sample(now, running, self._started, self._ended, self._busy_sec)
            self._told.write(orjson.dumps(asdict(sample)) + b"\n")

    def _send(self, node: _Node) -> None:
        if node.messages:
            body, node.messages = frame(orjson.dumps(node.messages)), []
            node.link.sendall(body)

    def _forget(self, node: _Node) -> None:
        if node in self._nodes:
            self._nodes.discard(node)
            self._selector.unregister(node.link)
            node.link.close()


def main() -> int:
    meeting = Rendezvous.read(Path(sys.argv[-1]))
    try:
        LightWorkers(meeting, float(os.environ["LIGHT_JOB_SEC"]), Path(os.environ["LIGHT_TOLD"])).serve()
    except OSError as exc:
        print(f"the leader is gone: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
