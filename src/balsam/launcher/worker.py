"""A worker of `serial` mode: `python -m balsam.launcher.worker FILE`, one on each node of an allocation.

It starts and ends what its leader says, and tells what becomes of it, in lists of messages:

leader: {"do": "start", job_id, num_runs, workdir, environment, command | request}, {"do": "beat", sec, us},
        {"do": "end"}, {"do": "signal", job_id, number}
worker: ["joined", node], ["started", job_id, us], ["ended", job_id, code, us, error, payload, begins,
         outside], ["beat"], ["refused", job_id, reason], ["warned", signal], ["clock", us, heard_us,
         told_us]: the latest beat's `us`, and by the worker's own clock when that came and when this went

When its leader is gone, or silent for as long as its last beat told, it ends its runs and itself: they may
run elsewhere by then. A guard does the same for a worker that is dead or frozen. Beats come and go in threads
that touch no file, for a filesystem that stalls is no reason to end anything.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import orjson

from balsam.core.clock import now_us
from balsam.launcher import ending_signals
from balsam.launcher.command import Command
from balsam.launcher.executor import Callbacks, LocalExecutor, NodeShort, NotStartable, Start, unforeseen
from balsam.launcher.placement import Seat
from balsam.launcher.rendezvous import NotOurs, Rendezvous, own_node
from balsam.launcher.reports import Ending
from balsam.runtime.frames import FrameReader, frame
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.requests import AppCode, decode_request
from balsam.runtime.worker_pool import WorkerSetting

log = logging.getLogger("balsam.launcher.worker")

# What an MPI launcher tells the process that it starts: a run that calls MPI_Init would take it for its own.
LAUNCHERS_OWN = ("PMI_", "PMIX_", "OMPI_", "PALS_", "HYDI_", "MPI_LOCAL", "PRTE_", "SLURM_PMI")


class LeaderGone(Exception):
    """Nobody tells this worker what to do any more; the sentence says why."""


def base_environment(environ: Mapping[str, str], leaders: Collection[str]) -> dict[str, str]:
    """What runs find in their environment: the worker's own, without its place among the workers.

    `leaders`: names of variables that the leader has, too, such as a user's settings of an MPI.
    """
    kept = set(leaders)
    return {
        name: text for name, text in environ.items() if name in kept or not name.startswith(LAUNCHERS_OWN)
    }


class NodeWorker:
    """Serves its leader until it is told to end."""

    def __init__(self, link: socket.socket, node: str, site_path: Path, meeting: Rendezvous) -> None:
        self._link = link
        self._seats = (Seat(node),)
        self._until = time.monotonic() + meeting.lease_sec
        self._gone: str | None = None  # how the leader was lost
        self._guard = GuardLink(meeting.lease_sec, self._seconds)
        self._selector = selectors.DefaultSelector()
        self._incoming = FrameReader()
        self._messages: list[list[Any]] = [["joined", node]]
        self._sending = threading.Lock()
        self._orders: deque[dict[str, Any]] = deque()
        self._asked: tuple[int, int] | None = None  # by the leader's latest beat, for this host's time
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._killed: set[int] = set()  # jobs whose runs the guard has ended
        self._warning: signal.Signals | None = None  # not yet told
        self._next_look = 0.0
        self._is_over = False
        self._codes: dict[tuple[int, str], AppCode] = {}
        environment = {**base_environment(os.environ, meeting.variables), **self._guard.environment}
        setting = WorkerSetting(str(site_path), environment)
        callbacks = Callbacks(
            self._started, self._ended, self._refused, lambda _: None, lambda *_: None, lambda *_: None
        )
        self._executor = LocalExecutor(
            self._selector, setting, self._guard, callbacks, meeting.max_output_bytes
        )
        self._selector.register(self._bell, selectors.EVENT_READ, self._take_orders)

    def serve(self) -> None:
        """Until the leader says that it is over; raises LeaderGone when there is no leader any more."""
        for target in (self._listen, self._beat, self._say_alive):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        for number in ending_signals.WARNINGS:
            signal.signal(number, self._warned)
        try:
            while not self._is_over:
                ready = self._selector.select(max(0.0, self._next_look - time.monotonic()))
                # First: ends that the guard has caused are no errors.
                self._look_after_guard()
                for key, _ in ready:
                    key.data()
                self._keep_up()
                self._executor.flush()
                self._send()
        finally:
            self._executor.close()
            self._guard.end()

    def _warned(self, number: int, _frame: object) -> None:
        """The leader decides when runs end, also when only this step, or this node, is told to."""
        self._warning = signal.Signals(number)
        os.eventfd_write(self._bell, 1)

    def _look_after_guard(self) -> None:
        if self._guard.beat():
            return
        fate = self._guard.renew()
        if fate.acted:
            self._killed = self._executor.jobs_of(fate.killed)
            self._gone = self._gone or "this worker was frozen, or its leader silent, and its runs were ended"
        elif not self._guard.is_missing:
            log.warning("the guard process was killed from outside; another one takes over")
            self._executor.resume(after_kill=False)

    def _keep_up(self) -> None:
        if self._gone is not None and not self._orders and not self._is_over:
            self._send()  # what has ended by itself before
            raise LeaderGone(self._gone)
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._guard.beat_sec
        self._executor.keep_up()

    def _send(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._messages.insert(0, ["clock", *asked, now_us()])  # before the stamps that it is about
        if not self._messages:
            return
        body, self._messages = frame(orjson.dumps(self._messages)), []
        try:
            with self._sending:
                self._link.sendall(body)
        except OSError as exc:
            raise LeaderGone(f"the connection to the leader broke: {exc}") from exc

    def _take_orders(self) -> None:
        os.eventfd_read(self._bell)
        if self._warning is not None:
            self._messages.append(["warned", self._warning.name])
            self._warning = None
        while self._orders:
            self._obey(self._orders.popleft())

    def _obey(self, message: dict[str, Any]) -> None:
        match message["do"]:
            case "start":
                self._start(message)
            case "signal":
                self._executor.signal(message["job_id"], signal.Signals(message["number"]))
            case "end":
                self._is_over = True

    # ---- the threads that touch no file ----

    def _seconds(self) -> float:
        """How long this worker may be silent, from now: as long as its leader may."""
        return 0.0 if self._gone is not None else max(0.0, self._until - time.monotonic())

    def _beat(self) -> None:
        while True:
            self._guard.beat()
            time.sleep(self._guard.beat_sec)

    def _say_alive(self) -> None:
        while True:
            # Where a report is on its way, that tells as much.
            if self._sending.acquire(blocking=False):
                try:
                    self._link.sendall(frame(orjson.dumps([["beat"]])))
                except OSError:
                    return  # the listener hears of it
                finally:
                    self._sending.release()
            time.sleep(self._guard.beat_sec)

    def _listen(self) -> None:
        while self._gone is None:
            try:
                data = self._link.recv(1 << 18)
            except OSError as exc:
                self._gone = f"the connection to the leader broke: {exc}"
                data = b""
            if not data:
                self._gone = self._gone or "the leader is gone"
            for body in self._incoming.feed(data):
                for message in orjson.loads(body):
                    if message["do"] == "beat":
                        self._until = time.monotonic() + message["sec"]
                        self._asked = (message["us"], now_us())
                    else:
                        self._orders.append(message)
            os.eventfd_write(self._bell, 1)

    # ---- runs ----

    def _start(self, message: dict[str, Any]) -> None:
        job_id = message["job_id"]
        try:
            self._executor.start(self._what(message))
        except NotStartable as exc:
            self._ended(job_id, Ending(1, now_us(), str(exc)))
        except NodeShort as exc:
            self._refused(job_id, str(exc))
        except Exception as exc:  # whatever one job holds, the others go on
            self._ended(job_id, Ending(1, now_us(), unforeseen(exc, "started")))

    def _what(self, message: dict[str, Any]) -> Start:
        command = request = None
        if "command" in message:
            command = Command(**message["command"])
        else:
            request = decode_request(message["request"], self._codes, *message["interpreter"])
        job = {"id": message["job_id"], "num_runs": message["num_runs"]}
        return Start(job, message["workdir"], message["environment"], self._seats, command, request)

    def _started(self, job_id: int, stamp_us: int) -> None:
        self._messages.append(["started", job_id, stamp_us])

    def _refused(self, job_id: int, reason: str) -> None:
        self._messages.append(["refused", job_id, reason])

    def _ended(self, job_id: int, ending: Ending) -> None:
        payload = dict(ending.payload) if ending.payload else None
        if job_id in self._killed and not payload:
            return  # lost with this worker, as its leader will say
        told = [
            ending.returncode,
            ending.ended_us,
            ending.error,
            payload,
            ending.output_begins,
            ending.outside,
        ]
        self._messages.append(["ended", job_id, *told])


def main() -> int:
    meeting = Rendezvous.read(Path(sys.argv[1]))
    site_path = Path(os.environ["BALSAM_SITE_PATH"])
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {socket.gethostname()} %(levelname)s %(message)s"
    )
    for number in ending_signals.WARNINGS:
        signal.signal(number, lambda *_: None)
    node = own_node(meeting.nodes, os.environ)
    if node is None:
        log.error("this host is none of the nodes %s", ", ".join(meeting.nodes))
        return 1
    try:
        with meeting.connect() as link:
            log.info("worker on node %s, process %d", node, os.getpid())
            NodeWorker(link, node, site_path, meeting).serve()
    except (LeaderGone, NotOurs, OSError) as exc:
        log.error("the worker on node %s ends: %s", node, exc)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
