"""Keeps the workers of a deployed server: a new one for each that ends, new ones for all at SIGHUP.

Nothing but the standard library is loaded here, and nothing wakes but signals: see
docs/decisions/0008-a-supervisor-of-our-own.md.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

log = logging.getLogger(__name__)
START_SEC = 60.0  # a successor that does not serve after so long is given up
SHORT_LIFE_SEC = 2.0  # a worker that has ended sooner gets its successor later
PAUSE_SEC = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


@dataclass(slots=True)
class Worker:
    """One worker process; `ready` has a byte to read as soon as it takes connections."""

    process: subprocess.Popen[bytes]
    ready: int
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, command: Sequence[str], inherited: Sequence[int]) -> Self:
        ready, says = os.pipe()
        try:
            process = subprocess.Popen([*command, "--ready", str(says)], pass_fds=[*inherited, says])
        finally:
            os.close(says)
        return cls(process, ready)

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> None:
        """Waits for it: requests are finished first."""
        self.process.terminate()
        self.process.wait()
        os.close(self.ready)


class Supervisor:
    """`command` starts a worker, which inherits the listening socket and the pipe that tells that we live.

    `one_at_a_time`: no worker starts beside another, as SQLite needs it; connections wait meanwhile.
    `ended`: called with the id of each process that has ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        listening: socket.socket,
        *,
        workers: int,
        one_at_a_time: bool,
        ended: Callable[[int], None],
    ) -> None:
        # Workers read from the pipe and find its end when we are gone, however that came.
        alive, self._alive = os.pipe()
        self._listening = listening
        self._inherited = [listening.fileno(), alive]
        self._command = [*command, "--socket", str(listening.fileno()), "--alive", str(alive)]
        self._count = workers
        self._one_at_a_time = one_at_a_time
        self._ended = ended
        self._workers: list[Worker] = []
        self._told: set[int] = set()
        self._woken, wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wakes, False)
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(wakes)

    def run(self) -> None:
        """Until SIGTERM or SIGINT; all workers have ended then."""
        self._workers = [self._new() for _ in range(self._count)]
        while not self._is_to_stop:
            if signal.SIGHUP in self._told:
                self._told.discard(signal.SIGHUP)
                self._replace_all()
            elif not self._revive():  # waiting for one worker may have hidden the end of another
                self._sleep()
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.wait()

    @property
    def _is_to_stop(self) -> bool:
        return bool({signal.SIGTERM, signal.SIGINT} & self._told)

    def _new(self) -> Worker:
        return Worker.start(self._command, self._inherited)

    def _sleep(self, seconds: float | None = None, *others: int) -> None:
        """Until a signal comes, one of the other descriptors has news, or the time is over."""
        if self._woken in select.select([self._woken, *others], [], [], seconds)[0]:
            self._told |= set(os.read(self._woken, 1024))

    def _pause(self, seconds: float) -> None:
        """So long, whatever signals come but for those to stop."""
        deadline = time.monotonic() + seconds
        while not self._is_to_stop and (left := deadline - time.monotonic()) > 0:
            self._sleep(left)

    def _revive(self) -> bool:
        """Whether any had ended."""
        ended = 0
        for index, worker in enumerate(self._workers):
            if not worker.has_ended or self._is_to_stop:
                continue
            ended += 1
            log.warning("worker %d ended with %d", worker.process.pid, worker.process.returncode)
            os.close(worker.ready)
            self._ended(worker.process.pid)
            if time.monotonic() - worker.began < SHORT_LIFE_SEC:
                self._pause(PAUSE_SEC)
            self._workers[index] = self._new()
        return ended > 0

    def _replace_all(self) -> None:
        for index, elder in enumerate(self._workers):
            if self._one_at_a_time:
                elder.end()
                self._workers[index] = self._new()
            else:
                successor = self._new()
                if not self._serves(successor):
                    self._give_up(successor)
                    return
                elder.end()
                self._workers[index] = successor
            self._ended(elder.process.pid)

    def _serves(self, worker: Worker) -> bool:
        """Whether it takes connections, soon."""
        deadline = worker.began + START_SEC
        while not (worker.has_ended or self._is_to_stop) and time.monotonic() < deadline:
            if select.select([worker.ready], [], [], 0)[0]:
                return bool(os.read(worker.ready, 1))
            self._sleep(deadline - time.monotonic(), worker.ready)
        return False

    def _give_up(self, successor: Worker) -> None:
        log.error("worker %d did not come to serve: its elders stay", successor.process.pid)
        successor.process.kill()
        successor.process.wait()
        os.close(successor.ready)
        self._ended(successor.process.pid)
