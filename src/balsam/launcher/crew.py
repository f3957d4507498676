"""The leader's side of `serial` mode on several nodes: a worker on each, started by the platform's launcher.

Workers connect to a port of their leader and prove that they belong to it (`launcher.rendezvous`). What both
say is in `launcher.worker`. A worker that is gone or silent is lost with its node and all that ran there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any
from uuid import uuid4

import orjson

from balsam.core.clock import now_us
from balsam.launcher.executor import Callbacks, Start
from balsam.launcher.rendezvous import LEADER, WORKER, NotOurs, Rendezvous, greet, new_secret, own_addresses
from balsam.launcher.reports import Ending
from balsam.platform.mpi.launch import MpiLauncher
from balsam.platform.nodes import Node
from balsam.runtime.children import signal_group
from balsam.runtime.frames import FrameReader, frame
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.worker_pool import WorkerSetting, encode_request

log = logging.getLogger(__name__)

JOIN_SEC = 300.0  # a large allocation takes minutes to start a process everywhere
OFFSET_US = 1_000_000  # clocks that agree better than that are left alone
DYING_SEC = 1.0  # what a guard needs to end runs, at most
END_SEC = 5.0  # for workers that were told to end
MAX_UNREAD_BYTES = 64 << 20  # what a worker that does not read may keep waiting


@dataclass(eq=False, slots=True)
class _Link:
    """A worker that has joined, or is about to say on which node it is."""

    socket: socket.socket
    heard_at: float
    node: str = ""
    offset_us: int = 0
    incoming: FrameReader = field(default_factory=FrameReader)
    outgoing: bytearray = field(default_factory=bytearray)
    messages: list[Any] = field(default_factory=list)
    known_apps: set[tuple[int, str]] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)


class Crew:
    """An executor whose runs are on the nodes of its workers, which join as they come up.

    `folder`: for the file by which they find this leader. `command`: starts a worker; that file's path is
    added to it. `output`: what workers print goes there.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        setting: WorkerSetting,
        guard: GuardLink,
        callbacks: Callbacks,
        nodes: Sequence[Node],
        mpi: MpiLauncher,
        folder: Path,
        command: Sequence[str],
        output: Path,
        lease_sec: float,
        max_output_bytes: int,
    ) -> None:
        self._selector = selector
        self._guard = guard
        self._setting = setting
        self._callbacks = callbacks
        self._output = output
        self._silence_sec = guard.limit_sec
        self._by_node: dict[str, _Link] = {}
        self._links: set[_Link] = set()
        self._place: dict[int, _Link] = {}
        self._nodes = {node.name: node for node in nodes}
        self._dying: deque[tuple[float, set[int]]] = deque()
        self._newcomers: deque[socket.socket] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        selector.register(self._bell, selectors.EVENT_READ, self._welcome)
        self._secret = new_secret()
        self._door = socket.create_server(("", 0), backlog=len(nodes) + 16)
        self._file = folder / f"leader-{uuid4().hex}.json"
        port = self._door.getsockname()[1]
        names = tuple(self._nodes)
        variables = [name for name in setting.environment or {} if name.isidentifier()]
        meeting = Rendezvous(
            own_addresses(), port, self._secret, names, lease_sec, max_output_bytes, variables
        )
        meeting.write(self._file)
        threading.Thread(target=self._accept, name="door", daemon=True).start()
        self._line = mpi.worker_command(list(self._nodes), [*command, str(self._file)], variables)
        self._missing: set[str] = set()
        self._give_up_at = 0.0
        self._process: subprocess.Popen[bytes]
        self._start_workers()

    def __len__(self) -> int:
        return len(self._place)

    # ---- the loop's side ----

    def start(self, what: Start) -> None:
        link = self._by_node[what.seats[0].node]
        message: dict[str, Any] = {"do": "start", "job_id": what.job_id, "workdir": what.workdir}
        message["environment"] = dict(what.environment)
        if what.command is not None:
            command = what.command
            message["command"] = [command.text, list(command.preamble), dict(command.environment)]
        elif what.request is not None:
            message["request"] = orjson.Fragment(encode_request(what.request, link.known_apps))
            message["interpreter"] = [what.request.interpreter, what.request.fresh]
        link.jobs.add(what.job_id)
        self._place[what.job_id] = link
        link.messages.append(message)

    def signal(self, job_id: int, number: Signals) -> None:
        link = self._place.get(job_id)
        if link is not None:
            link.messages.append({"do": "signal", "job_id": job_id, "number": int(number)})

    def resume(self) -> None:
        """This process was frozen, so its workers are dead or dying: others take their places."""
        # Before the nodes go: a loop that has none and expects none ends.
        self._missing = set(self._nodes)
        for link in list(self._links):
            self._lose(link, "the leader was frozen, and its workers were ended")
        self._end_line()
        self._start_workers()

    def flush(self) -> None:
        for link in list(self._links):
            if link.messages:
                link.outgoing += frame(orjson.dumps(link.messages))
                link.messages = []
                self._write(link)

    def beat(self) -> None:
        now = time.monotonic()
        self._bury(now)
        for link in list(self._links):
            if now - link.heard_at > self._silence_sec:
                self._lose(link, f"its worker has been silent for {now - link.heard_at:.1f} s")
            else:
                link.messages.append({"do": "beat"})
        if self._missing and (now > self._give_up_at or self._process.poll() is not None):
            missing, self._missing = sorted(self._missing), set()
            code = self._process.poll()
            ended = f"the line that starts them ended with {code}" if code is not None else "it took too long"
            for name in missing:
                self._callbacks.on_lost(name, f"no worker came up there: {ended}; see {self._output}")

    @property
    def expects_nodes(self) -> bool:
        return bool(self._missing)

    def close(self) -> None:
        for link in list(self._links):
            link.messages.append({"do": "end"})
        self.flush()
        self._selector.unregister(self._bell)
        self._door.close()
        for link in list(self._links):
            self._forget(link)
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SEC)
        self._end_line()

    # ---- coming and going ----

    def _start_workers(self) -> None:
        self._missing = set(self._nodes)
        self._give_up_at = time.monotonic() + JOIN_SEC
        log.info("workers are started on %d nodes: %s", len(self._nodes), " ".join(self._line))
        with self._output.open("ab") as file:
            self._process = subprocess.Popen(
                self._line,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self._setting.site_path,
                env=self._setting.environment,
                start_new_session=True,
            )
        self._guard.add(self._process.pid)

    def _end_line(self) -> None:
        """The processes that the platform's launcher keeps on this node."""
        if self._process.poll() is None:
            signal_group(self._process.pid, Signals.SIGKILL)
            self._process.wait()
        self._guard.remove(self._process.pid)

    def _accept(self) -> None:
        """In a thread of its own: who does not speak keeps nobody else waiting."""
        while True:
            try:
                link, _ = self._door.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._let_in, args=(link,), daemon=True).start()

    def _let_in(self, link: socket.socket) -> None:
        try:
            greet(link, self._secret, LEADER, WORKER)
        except (OSError, NotOurs) as exc:
            log.warning("a stranger at the workers' port was turned away: %s", exc)
            link.close()
            return
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._newcomers.append(link)
        with contextlib.suppress(OSError):
            os.eventfd_write(self._bell, 1)

    def _welcome(self) -> None:
        os.eventfd_read(self._bell)
        while self._newcomers:
            link = _Link(self._newcomers.popleft(), time.monotonic())
            self._links.add(link)
            self._selector.register(link.socket, selectors.EVENT_READ, partial(self._ready, link))

    def _join(self, link: _Link, name: str) -> None:
        if name not in self._missing:
            self._forget(link)
            log.error("a second worker came up on node %s, or one too late: it is sent away", name)
            return
        self._missing.discard(name)
        link.node = name
        self._by_node[name] = link
        self._callbacks.on_join(self._nodes[name])

    def _lose(self, link: _Link, reason: str) -> None:
        if link not in self._links:
            return
        self._forget(link)
        if link.node:
            self._callbacks.on_lost(link.node, reason)
        # Its guard may only now be killing them: nobody else is to start them before they are dead.
        self._dying.append((time.monotonic() + self._guard.beat_sec + DYING_SEC, link.jobs))

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
        if link in self._links and link.outgoing:
            self._write(link)
        self._read(link)

    def _write(self, link: _Link) -> None:
        try:
            while link.outgoing:
                sent = link.socket.send(link.outgoing)
                del link.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError as exc:
            self._lose(link, f"the connection to its worker broke: {exc.strerror}")
            return
        if len(link.outgoing) > MAX_UNREAD_BYTES:
            self._lose(link, "its worker does not read what it is told")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.outgoing else 0)
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
                self._callbacks.on_start(job_id, stamp_us + link.offset_us)
            case ["ended", job_id, code, stamp_us, error, payload] if job_id in link.jobs:
                link.jobs.discard(job_id)
                del self._place[job_id]
                self._callbacks.on_end(job_id, Ending(code, stamp_us + link.offset_us, error, payload))
            case ["refused", job_id, reason] if job_id in link.jobs:
                link.jobs.discard(job_id)
                del self._place[job_id]
                self._callbacks.on_refused(job_id, reason)
            case ["joined", name]:
                self._join(link, name)
            case ["beat", stamp_us]:
                offset_us = now_us() - stamp_us
                link.offset_us = offset_us if abs(offset_us) > OFFSET_US else 0
