"""The owner's end of the pipe to its guard process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from balsam.core.limits import LEASE_SEC
from balsam.runtime import guard
from balsam.runtime.guard import boot_clock

log = logging.getLogger(__name__)

# Where nobody tells how long the lease lasts: it has been renewed within the last quarter.
SHARE_OF_LEASE = 2 / 3
SHARE_OF_GRACE = 1 / 6
LEAST_GRACE_SEC = 2.0  # a busy machine may keep a healthy owner waiting for a second
MARGIN_SHARE, LEAST_MARGIN_SEC, MOST_MARGIN_SEC = 1 / 6, 1.0, 5.0
FRESH = 0.1  # of the time between two beats: one that comes so soon after another tells nothing new


def margin_sec(lease_sec: float) -> float:
    """How long before the end of a lease its guard begins to kill."""
    return min(lease_sec / 4, max(LEAST_MARGIN_SEC, min(MOST_MARGIN_SEC, lease_sec * MARGIN_SHARE)))


def grace_sec(lease_sec: float) -> float:
    """How long an owner that lives and can't be sure of its lease may be silent."""
    return max(lease_sec * SHARE_OF_GRACE, min(LEAST_GRACE_SEC, lease_sec / 2))


@dataclass(frozen=True, slots=True)
class Fate:
    """What a guard has done. `acted`: it has killed, these groups among others; else it was itself killed."""

    acted: bool
    killed: frozenset[int] = frozenset()


class GuardLink:
    """Starts a guard and tells it of process groups; thread safe.

    The owner calls `beat()` every `beat_sec`, from a thread that nothing holds up: the guard kills when the
    owner is dead, or when it has been silent until the time that the last beat told. `seconds` says how long
    that is from now: as long as the owner's lease lasts, and `limit_sec` at most. When `beat()` answers False
    that time has passed: what `renew()` tells of is dead, and a new guard knows of the groups that are not.
    """

    def __init__(self, lease_sec: float = LEASE_SEC, seconds: Callable[[], float] | None = None) -> None:
        self.limit_sec = lease_sec - margin_sec(lease_sec)
        self.beat_sec = grace_sec(lease_sec) / 5
        usual_sec = lease_sec * SHARE_OF_LEASE
        self._seconds = seconds or (lambda: usual_sec)
        self._lock = threading.Lock()
        self._groups: dict[int, None] = {}
        self._beaten = self._until = 0.0
        self._is_broken = False
        self._is_missing = False
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

    @property
    def is_missing(self) -> bool:
        """Whether this host could start no guard for the moment; `renew` is to be called again."""
        return self._is_missing

    def add(self, *pgids: int) -> None:
        with self._lock:
            self._groups.update(dict.fromkeys(pgids))
            self._write(b"".join(b"+%d\n" % pgid for pgid in pgids))

    def remove(self, *pgids: int) -> None:
        with self._lock:
            for pgid in pgids:
                self._groups.pop(pgid, None)
            self._write(b"".join(b"-%d\n" % pgid for pgid in pgids))

    def beat(self) -> bool:
        """Says that the owner is alive; False if that comes too late, until the guard is renewed."""
        now = boot_clock()
        if self._is_broken or now >= self._until:
            return False
        if now - self._beaten < self.beat_sec * FRESH:
            return True
        with self._lock:
            if self._is_broken or now >= self._until:
                return False
            self._beaten, self._until = now, now + self._allowed_sec()
            return self._write(b"@%.3f\n" % self._until)

    def renew(self) -> Fate:
        """Waits for the old guard's end and starts a new one, which knows the groups that may be alive.

        Where that can't be started, `is_missing` says so, and `beat` answers False until it can.
        """
        with self._lock:  # the number of a pipe that is closed soon belongs to something else
            fate = Fate(acted=False) if self._is_missing else self._close()
            if fate.acted:
                self._groups.clear()
            try:
                self._start()
            except OSError as exc:
                if not self._is_missing:
                    log.error("no guard process can be started, which is tried again: %s", exc)
                self._is_broken = self._is_missing = True
                return fate
            self._write(b"".join(b"+%d\n" % pgid for pgid in self._groups))
            return fate

    def end(self) -> None:
        """The owner has ended its groups itself: the guard goes without killing anything registered."""
        with self._lock:
            if not self._is_missing:
                self._write(b"q\n")
                self._close()
            self._is_broken = True

    def _start(self) -> None:
        # Where this process itself dies with another, its guard must not: it has runs to kill.
        environment = {name: text for name, text in os.environ.items() if name != guard.MARK_VARIABLE}
        with _signals_held():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        assert self._process.stdin is not None
        self._unsent, self._is_broken, self._is_missing = b"", False, False
        self._fd = self._process.stdin.fileno()
        os.set_blocking(self._fd, False)
        self._beaten = boot_clock()
        self._until = self._beaten + self._allowed_sec()
        self._write(b"@%.3f\n" % self._until)

    def _allowed_sec(self) -> float:
        return min(self._seconds(), self.limit_sec)

    def _write(self, line: bytes) -> bool:
        """Under the lock, which nobody keeps for longer than a pipe takes that does not block."""
        if self._is_missing:
            return False  # the next one is told of all groups
        self._unsent += line
        try:
            self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            return True  # goes with the next line
        except OSError:
            self._is_broken = True
            return False
        return True

    def _close(self) -> Fate:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with self._process.stdout as told:
            words = told.read().split()
        self._process.wait()
        return Fate(words[:1] == [guard.KILLING.encode()], frozenset(map(int, words[1:])))


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
