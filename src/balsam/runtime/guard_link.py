"""The owner's end of the pipe to its guard process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

from balsam.core.limits import LEASE_SEC
from balsam.runtime import guard

SHARE_OF_LEASE = 1 / 6
LEAST_LIMIT_SEC = 2.0  # a busy machine may keep a healthy owner waiting for a second
# An owner that finds itself this close to the limit acts as if the guard had killed its groups already.
TRUST = 0.9
FRESH = 0.02  # of the limit: a beat that comes so soon after another word tells nothing new


class GuardLink:
    """Starts a guard and tells it of process groups; thread safe.

    The owner calls `beat()` several times within `limit_sec`. When it answers False the owner was frozen for
    too long: its groups are dead or dying, and `renew()` starts a new guard for those to come.
    """

    def __init__(self, lease_sec: float = LEASE_SEC) -> None:
        self.limit_sec = max(lease_sec * SHARE_OF_LEASE, min(LEAST_LIMIT_SEC, lease_sec / 2))
        self.beat_sec = self.limit_sec / 5
        self._lock = threading.Lock()
        # For good: environments are made once, and a guard ends before the next one starts.
        self._mark = uuid4().hex
        self._start()

    @property
    def environment(self) -> dict[str, str]:
        """Set for every process that is to die with the owner, wherever its process group is."""
        return {guard.MARK_VARIABLE: self._mark}

    @property
    def pid(self) -> int:
        """Of the guard's process."""
        return self._process.pid

    def add(self, *pgids: int) -> None:
        self._write(b"".join(b"+%d\n" % pgid for pgid in pgids))

    def remove(self, *pgids: int) -> None:
        self._write(b"".join(b"-%d\n" % pgid for pgid in pgids))

    def beat(self) -> bool:
        """Says that the owner is alive; False if that comes too late."""
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - self._last_beat
        if since > self.limit_sec * TRUST:
            return False
        return since < self.limit_sec * FRESH or self._write(b".\n")

    def renew(self) -> None:
        """A new guard, which knows of no groups yet; the old one has killed what it had to by then."""
        with self._lock:  # the number of a pipe that is closed soon belongs to something else
            self._close()
            self._start()

    def end(self) -> None:
        """The owner has ended its groups itself: the guard goes without killing anything registered."""
        self._write(b"q\n")
        self._close()

    def _start(self) -> None:
        self._unsent = b""
        # Where this process itself dies with another, its guard must not: it has runs to kill.
        environment = {name: text for name, text in os.environ.items() if name != guard.MARK_VARIABLE}
        with _signals_held():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(self.limit_sec), self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        assert self._process.stdin is not None
        self._fd = self._process.stdin.fileno()
        os.set_blocking(self._fd, False)
        self._last_beat = time.clock_gettime(time.CLOCK_BOOTTIME)

    def _write(self, line: bytes) -> bool:
        with self._lock:
            self._unsent += line
            try:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:
                return True  # goes with the next line
            except OSError:
                return False
            self._last_beat = time.clock_gettime(time.CLOCK_BOOTTIME)
            return True

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Keeps the signals that a guard outlives from this thread, and for good from what it starts meanwhile.

    A guard must not die of them in the moments that its interpreter takes to start. What comes for this
    process itself is delivered afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, guard.OUTLIVED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
