"""The leader's side of `serial` mode on several nodes: a worker on each, started by the platform's launcher.

Workers connect to a port of their leader and prove that they belong to it (`launcher.rendezvous`). What both
say is in `launcher.worker`. A worker that is gone or silent is lost with its node and all that ran there.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from signal import Signals
from typing import Any

import orjson

from balsam.core.clock import ClockOffset, now_us
from balsam.launcher.door import Door
from balsam.launcher.executor import Callbacks, Start
from balsam.launcher.lines import END_SEC, Line, Lines, WorkerLine
from balsam.launcher.rendezvous import Rendezvous, new_secret, own_addresses
from balsam.launcher.reports import Ending
from balsam.launcher.runs import TERM_GRACE_SEC
from balsam.platform.nodes import Node
from balsam.runtime.frames import FrameReader, frame
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.requests import encode_request

log = logging.getLogger(__name__)

RESTARTS = 3  # of a node's worker
RESTART_SEC = 1.0  # before the first one, at least; twice as long before the next
DYING_SEC = 1.0  # what a guard needs to end runs, at most
MAX_UNREAD_BYTES = 64 << 20  # what a worker that does not read may keep waiting


@dataclass(eq=False, slots=True)
class _Link:
    """A worker that has joined, or is about to say on which node it is."""

    socket: socket.socket
    heard_at: float
    node: str = ""
    clock: ClockOffset = field(default_factory=ClockOffset)  # how far the worker's is ahead
    incoming: FrameReader = field(default_factory=FrameReader)
    messages: list[Any] = field(default_factory=list)
    known_apps: set[tuple[int, str]] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)
    unsent: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def push(self, data: bytes = b"") -> int:
        """Sends what the socket takes; how many bytes are left. From any thread; raises OSError."""
        with self.lock:
            self.unsent += data
            try:
                while self.unsent:
                    del self.unsent[: self.socket.send(self.unsent)]
            except BlockingIOError:
                pass
            return len(self.unsent)


@dataclass(frozen=True)
class CrewSetting:
    """What a leader's workers are: on which nodes, how they are started, what they are told.

    `lease_sec`: of the leader's session.
    """

    nodes: Sequence[Node]
    line: WorkerLine
    lease_sec: float
    max_output_bytes: int


class Crew:
    """An executor whose runs are on the nodes of its workers, which join as they come up.

    A worker that is lost is started again after a pause, RESTARTS times on each node. `seconds`: how long
    workers may go on without another word from here, and `guard.limit_sec` at most.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        guard: GuardLink,
        callbacks: Callbacks,
        setting: CrewSetting,
        seconds: Callable[[], float],
    ) -> None:
        self._seconds = seconds
        self._selector = selector
        self._guard = guard
        self._callbacks = callbacks
        self._output = setting.line.output
        # By then a worker that is frozen or cut off has ended its runs: so long it was told to at most.
        self._silence_sec = guard.limit_sec
        self._by_node: dict[str, _Link] = {}
        self._links: set[_Link] = set()
        self._place: dict[int, _Link] = {}
        self._nodes = {node.name: node for node in setting.nodes}
        self._dying: deque[tuple[float, set[int]]] = deque()
        self._leaving: deque[tuple[_Link, float, str]] = deque()  # when those who were warned are lost
        secret = new_secret()
        self._door = Door(secret, len(self._nodes))
        selector.register(self._door, selectors.EVENT_READ, self._welcome)
        meeting = Rendezvous(
            addresses=own_addresses(),
            port=self._door.port,
            secret=secret,
            nodes=tuple(self._nodes),
            lease_sec=setting.lease_sec,
            max_output_bytes=setting.max_output_bytes,
            variables=[name for name in setting.line.environment or {} if name.isidentifier()],
        )
        self._lines = Lines(setting.line, meeting, guard)
        # Started, and not there yet.
        self._missing: dict[str, Line] = dict.fromkeys(self._nodes, self._lines.start(self._nodes))
        self._again: dict[str, float] = {}  # when they are to be started
        self._restarts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._place)

    # ---- the loop's side ----

    def start(self, what: Start) -> None:
        link = self._by_node[what.seats[0].node]
        message: dict[str, Any] = {"do": "start", "job_id": what.job_id, "workdir": what.workdir}
        message["environment"] = dict(what.environment)
        message["num_runs"] = what.job.get("num_runs", 0)
        if what.command is not None:
            command = what.command
            message["command"] = asdict(command)
        elif what.request is not None:
            message["request"] = orjson.Fragment(encode_request(what.request, link.known_apps))
            message["interpreter"] = [what.request.interpreter, what.request.fresh]
        written = orjson.Fragment(orjson.dumps(message))  # raises for what can't be sent, this run's alone
        link.jobs.add(what.job_id)
        self._place[what.job_id] = link
        link.messages.append(written)

    def signal(self, job_id: int, number: Signals) -> None:
        link = self._place.get(job_id)
        if link is not None:
            link.messages.append({"do": "signal", "job_id": job_id, "number": int(number)})

    def jobs_of(self, killed: Collection[int]) -> set[int]:
        """What the workers have told before they were ended with their leader stands."""
        for link in list(self._links):
            self._read(link)
        return set(self._place)

    def resume(self, *, after_kill: bool) -> None:
        """Where this process was frozen, its workers are dead or dying: others take their places."""
        if not after_kill:
            return
        self._restarts.clear()
        for link in list(self._links):
            self._lose(link, "the leader was frozen, and its workers were ended")
        self._lines.close()
        self._restarts.clear()
        self._again.clear()
        self._start_workers(self._nodes)

    def flush(self) -> None:
        for link in list(self._links):
            if link.messages:
                body, link.messages = frame(orjson.dumps(link.messages)), []
                self._write(link, body)

    def beat(self) -> None:
        for link in tuple(self._links):
            self._say_alive(link)

    def _say_alive(self, link: _Link) -> None:
        beat = {"do": "beat", "sec": min(self._seconds(), self._guard.limit_sec), "us": now_us()}
        with contextlib.suppress(OSError):  # the loop's next word to it, or from it, tells
            if not link.unsent:
                link.push(frame(orjson.dumps([beat])))

    def keep_up(self) -> None:
        now = time.monotonic()
        self._bury(now)
        self._lose_warned(now)
        for link in list(self._links):
            if now - link.heard_at > self._silence_sec:
                self._read(link)  # this process may have been held up, while it went on talking
            if now - link.heard_at > self._silence_sec:
                self._lose(link, f"its worker has been silent for {now - link.heard_at:.1f} s")
        self._give_up(now)
        self._lines.forget_ended()
        due = [name for name, at in self._again.items() if now >= at]
        if due:
            self._start_workers(due)

    @property
    def expects_nodes(self) -> bool:
        return bool(self._missing or self._again)

    def close(self) -> None:
        for link in list(self._links):
            link.messages.append({"do": "end"})
        self.flush()
        self._selector.unregister(self._door)
        self._door.close()
        for link in list(self._links):
            self._forget(link)
        self._lines.close(END_SEC)

    # ---- coming and going ----

    def _start_workers(self, names: Iterable[str]) -> None:
        names = list(names)
        for name in names:
            self._again.pop(name, None)
        try:
            line = self._lines.start(names)
        except OSError as exc:
            for name in names:
                self._lost(name, f"its worker can't be started: {exc.strerror}")
            return
        self._missing |= dict.fromkeys(names, line)

    def _give_up(self, now: float) -> None:
        """Nodes whose workers do not come up are lost."""
        for name, line in list(self._missing.items()):
            reason = line.failure(now)
            if reason is not None:
                del self._missing[name]
                self._lost(name, f"no worker came up there: {reason}; see {self._output}")

    def _lost(self, name: str, reason: str) -> None:
        """The node is gone; unless that has happened too often, its worker is started again."""
        count = self._restarts[name]
        if count < RESTARTS:
            self._restarts[name] += 1
            # When its runs are dead, and whatever ended it had the time to pass.
            pause_sec = self._guard.beat_sec + DYING_SEC + RESTART_SEC * 2.0**count
            self._again[name] = time.monotonic() + pause_sec
            reason += f"; a worker is started there again in {pause_sec:.0f} s"
        # After that: a loop that has no node and expects none ends.
        self._callbacks.on_lost(name, reason)

    def _welcome(self) -> None:
        for newcomer in self._door.newcomers():
            link = _Link(newcomer, time.monotonic())
            self._links.add(link)
            self._selector.register(link.socket, selectors.EVENT_READ, partial(self._ready, link))

    def _join(self, link: _Link, name: str) -> None:
        if name not in self._missing:
            self._forget(link)
            log.error("a second worker came up on node %s, or one too late: it is sent away", name)
            return
        del self._missing[name]
        link.node = name
        self._by_node[name] = link
        self._say_alive(link)  # so that it tells of its clock before its first run
        self._callbacks.on_join(self._nodes[name])

    def _lose(self, link: _Link, reason: str) -> None:
        if link not in self._links:
            return
        self._forget(link)
        if link.node:
            self._lost(link.node, reason)
        # Its guard may only now be killing them: nobody else is to start them before they are dead.
        self._dying.append((time.monotonic() + self._guard.beat_sec + DYING_SEC, link.jobs))

    def _warned(self, link: _Link, reason: str) -> None:
        """Its runs have the signal as well, and this long to end in order."""
        if all(one is not link for one, _, _ in self._leaving):
            self._leaving.append((link, time.monotonic() + TERM_GRACE_SEC, reason))
            self._callbacks.on_warned(link.node, reason)

    def _lose_warned(self, now: float) -> None:
        while self._leaving and self._leaving[0][1] <= now:
            link, _, reason = self._leaving.popleft()
            self._lose(link, reason)

    def _bury(self, now: float) -> None:
        """Tells the ends of runs whose nodes were lost a while ago."""
        while self._dying and self._dying[0][0] <= now:
            for job_id in self._dying.popleft()[1]:
                del self._place[job_id]
                self._callbacks.on_end(job_id, Ending(-Signals.SIGKILL, now_us()))

    def _forget(self, link: _Link) -> None:
        if link not in self._links:
            return
        self._links.discard(link)
        self._by_node.pop(link.node, None)
        self._selector.unregister(link.socket)
        link.socket.close()

    # ---- talking ----

    def _ready(self, link: _Link) -> None:
        if link in self._links and link.unsent:
            self._write(link)
        self._read(link)

    def _write(self, link: _Link, body: bytes = b"") -> None:
        try:
            left = link.push(body)
        except OSError as exc:
            self._lose(link, f"the connection to its worker broke: {exc.strerror}")
            return
        if left > MAX_UNREAD_BYTES:
            self._lose(link, "its worker does not read what it is told")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
        self._selector.modify(link.socket, events, partial(self._ready, link))

    def _read(self, link: _Link) -> None:
        while link in self._links:
            try:
                data = link.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose(link, "the connection to its worker ended")
                return
            link.heard_at = time.monotonic()
            for body in link.incoming.feed(data):
                for message in orjson.loads(body):
                    self._hear(link, message)

    def _hear(self, link: _Link, message: list[Any]) -> None:
        match message:
            case ["started", job_id, stamp_us] if job_id in link.jobs:
                self._callbacks.on_start(job_id, stamp_us - link.clock.us)
            case ["ended", job_id, code, us, error, payload, begins, outside] if job_id in link.jobs:
                link.jobs.discard(job_id)
                del self._place[job_id]
                ended_us = us - link.clock.us
                ending = Ending(code, ended_us, error, payload, output_begins=begins, outside=outside)
                self._callbacks.on_end(job_id, ending)
            case ["refused", job_id, reason] if job_id in link.jobs:
                link.jobs.discard(job_id)
                del self._place[job_id]
                self._callbacks.on_refused(job_id, reason)
            case ["joined", name]:
                self._join(link, name)
            case ["warned", name] if link.node:
                self._warned(link, f"its worker got {name}, as from whoever ends a job step or a node")
            case ["clock", asked_us, heard_us, told_us]:
                # What the worker kept the answer is no part of the way.
                link.clock.add(asked_us + told_us - heard_us, told_us, now_us())
