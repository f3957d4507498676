"""Starts runs on this node and tells how they end."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from balsam.core.clock import now_us
from balsam.launcher.command import Command, CommandError, argument_list, shell
from balsam.launcher.reports import JOB_OUTPUT, Ending
from balsam.runtime.children import signal_group
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.worker_pool import Reply, Request, Ticket, WorkerPool


class NotStartable(Exception):
    """A run that can't be started for a reason of its own; the sentence says which."""


@dataclass(eq=False, slots=True)
class _Process:
    """A command's process group; `pidfd` becomes readable when its leader ends."""

    job_id: int
    popen: subprocess.Popen[bytes]
    pidfd: int


class Executor:
    """Runs commands as process groups, and `run()` methods in the workers of `pool`.

    `on_start(job_id, us)` and `on_end(job_id, ending)` are called from `selector`'s loop.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        pool: WorkerPool,
        guard: GuardLink,
        on_start: Callable[[int, int], None],
        on_end: Callable[[int, Ending], None],
    ) -> None:
        self._selector = selector
        self._pool = pool
        self._guard = guard
        self._on_start = on_start
        self._on_end = on_end
        self._processes: dict[int, _Process] = {}
        self._tickets: dict[int, Ticket] = {}
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def __len__(self) -> int:
        return len(self._processes) + len(self._tickets)

    def start_command(self, job_id: int, command: Command, workdir: str, environment: dict[str, str]) -> None:
        """Starts a command in its workdir, output to job.out; raises NotStartable.

        `environment`: all of it, the command's own variables included.
        """
        try:
            words = argument_list(command, environment)
            output = open_output(workdir)
        except CommandError as exc:
            raise NotStartable(str(exc)) from exc
        try:
            stamp = now_us()
            popen = self._spawn(words, command, workdir, environment, output)
        except OSError as exc:
            raise NotStartable(f"can't start {words[0]!r}: {exc.strerror}") from exc
        finally:
            os.close(output)
        self._guard.add(popen.pid)
        process = _Process(job_id, popen, os.pidfd_open(popen.pid))
        self._processes[job_id] = process
        self._selector.register(process.pidfd, selectors.EVENT_READ, partial(self._reap, process))
        self._on_start(job_id, stamp)

    def _spawn(
        self, words: list[str], command: Command, workdir: str, environment: Mapping[str, str], output: int
    ) -> subprocess.Popen[bytes]:
        try:
            return self._popen(words, workdir, environment, output)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script without a `#!` line: shells run it themselves.
            return self._popen(shell(command.text), workdir, environment, output)

    def _popen(
        self, words: list[str], workdir: str, environment: Mapping[str, str], output: int
    ) -> subprocess.Popen[bytes]:
        # Without preexec_fn: then Popen uses vfork, which costs the same however large the launcher is.
        return subprocess.Popen(
            words,
            stdin=self._null,
            stdout=output,
            stderr=output,
            cwd=workdir,
            env=environment,
            start_new_session=True,
        )

    def start_function(self, job_id: int, request: Request) -> None:
        """Hands a run() to a worker, as soon as one is ready; raises NotStartable."""
        make_workdir(request.workdir)
        self._tickets[job_id] = self._pool.submit(
            request, done=partial(self._replied, job_id), on_start=partial(self._on_start, job_id)
        )

    def end(self, job_id: int, *, kill: bool) -> None:
        """Ends a run's whole process group; its ending is told as any other."""
        process = self._processes.get(job_id)
        ticket = self._tickets.get(job_id)
        if process is not None:
            signal_group(process.popen.pid, kill=kill)
        elif ticket is not None and kill:
            self._pool.kill(ticket)
        elif ticket is not None:
            self._pool.terminate(ticket)

    def end_all(self, *, kill: bool) -> None:
        for job_id in [*self._processes, *self._tickets]:
            self.end(job_id, kill=kill)

    def _reap(self, process: _Process) -> None:
        ended_us = now_us()
        pid = process.popen.pid
        # While its leader is not yet waited for, the group's number belongs to nobody else.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        signal_group(pid, kill=True)
        returncode = process.popen.wait()
        self._selector.unregister(process.pidfd)
        os.close(process.pidfd)
        self._guard.remove(pid)
        del self._processes[process.job_id]
        self._on_end(process.job_id, Ending(returncode, ended_us, _signal_sentence(returncode)))

    def _replied(self, job_id: int, reply: Reply) -> None:
        del self._tickets[job_id]
        if reply.ok:
            payload = {"serialized_return_value": reply.serialized_return_value}
            self._on_end(job_id, Ending(0, reply.ended_us, payload=payload))
            return
        payload = {"serialized_exception": reply.serialized_exception} if reply.serialized_exception else {}
        self._on_end(job_id, Ending(1, reply.ended_us or now_us(), reply.error, payload))


def make_workdir(workdir: str) -> None:
    """Makes the workdir if it is missing; raises NotStartable."""
    try:
        os.makedirs(workdir, exist_ok=True)  # noqa: PTH103 - once per run, and pathlib takes longer than the kernel
    except OSError as exc:
        raise NotStartable(f"can't make the workdir {workdir}: {exc.strerror}") from exc


def open_output(workdir: str) -> int:
    """job.out, open for appending; makes the workdir if it is missing. Raises NotStartable."""
    path = f"{workdir}/{JOB_OUTPUT}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            make_workdir(workdir)
            return os.open(path, flags, 0o666)
    except OSError as exc:
        raise NotStartable(f"can't write job.out in {workdir}: {exc.strerror}") from exc


def _signal_sentence(returncode: int) -> str:
    if returncode >= 0:
        return ""
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = str(-returncode)
    return f"ended by signal {name}"
