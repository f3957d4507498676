"""The lines that start workers: one for all nodes at first, then others for those that are started again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from uuid import uuid4

from balsam.launcher.rendezvous import Rendezvous
from balsam.platform.mpi.launch import MpiLauncher
from balsam.runtime.children import await_program, signal_group
from balsam.runtime.guard_link import GuardLink

log = logging.getLogger(__name__)

JOIN_SEC = 300.0  # a large allocation takes minutes to start a process everywhere
END_SEC = 5.0  # for workers that were told to end


@dataclass(frozen=True)
class WorkerLine:
    """How workers are started.

    `folder`: for the files by which they find their leader. `command`: starts a worker; that file's path is
    added to it. `output`: what workers print goes there.
    """

    mpi: MpiLauncher
    folder: Path
    command: Sequence[str]
    output: Path
    site_path: str
    environment: Mapping[str, str] | None


@dataclass(eq=False)
class Line:
    """One that was started: `names` of its nodes, and the file that its workers read."""

    names: tuple[str, ...]
    process: subprocess.Popen[bytes]
    file: Path
    lock: int
    give_up_at: float

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def failure(self, now: float) -> str | None:
        """Why those of its workers that have not joined never will; None while they may."""
        if self.is_over:
            return f"the line that starts them ended with {self.process.poll()}"
        return "it took too long" if now > self.give_up_at else None


class Lines:
    """Starts lines and ends them; `meeting`: what workers have to know, but for the nodes of their line."""

    def __init__(self, how: WorkerLine, meeting: Rendezvous, guard: GuardLink) -> None:
        self._how = how
        self._meeting = meeting
        self._guard = guard
        self._lines: list[Line] = []
        remove_leftovers(how.folder)

    def start(self, names: Collection[str]) -> Line:
        """Starts a worker on each of these nodes; raises OSError."""
        how = self._how
        file = how.folder / f"leader-{uuid4().hex}.json"
        lock = replace(self._meeting, nodes=tuple(names)).write(file)
        words = how.mpi.worker_command(list(names), [*how.command, str(file)], self._meeting.variables)
        log.info("workers are started on %d nodes: %s", len(names), " ".join(words))
        try:
            process = self._spawn(words)
        except OSError:
            file.unlink(missing_ok=True)
            os.close(lock)
            raise
        self._guard.add(process.pid)
        line = Line(tuple(names), process, file, lock, time.monotonic() + JOIN_SEC)
        self._lines.append(line)
        return line

    def _spawn(self, words: list[str]) -> subprocess.Popen[bytes]:
        await_program(shutil.which(words[0]) or words[0])
        with self._how.output.open("ab") as output:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._how.site_path,
                env=self._how.environment,
                start_new_session=True,
            )

    def forget_ended(self) -> None:
        for line in [line for line in self._lines if line.is_over]:
            self._end(line)

    def close(self, grace_sec: float = 0.0) -> None:
        """Ends what the platform's launcher keeps on this node, after a while for workers that end."""
        deadline = time.monotonic() + grace_sec
        for line in list(self._lines):
            with contextlib.suppress(subprocess.TimeoutExpired):
                line.process.wait(max(0.0, deadline - time.monotonic()))
            self._end(line)

    def _end(self, line: Line) -> None:
        self._lines.remove(line)
        if not line.is_over:
            signal_group(line.process.pid, Signals.SIGKILL)
            line.process.wait()
        self._guard.remove(line.process.pid)
        line.file.unlink(missing_ok=True)
        os.close(line.lock)


def remove_leftovers(folder: Path) -> None:
    """Removes the files of leaders that are dead; where the filesystem knows no locks, they stay.

    Only those that nobody reads any more: some filesystems keep a lock from the host's own processes alone.
    """
    for path in folder.glob("leader-*.json"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < 2 * JOIN_SEC:
                continue
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(fd)
