"""Starts runs and tells how they end: what every executor offers, and the one of this node."""

from __future__ import annotations

import errno
import logging
import os
import select
import selectors
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from signal import Signals
from typing import Any, Protocol

from balsam.core.clock import now_us
from balsam.launcher.command import Command, CommandError, argument_list, shell, why_not
from balsam.launcher.placement import Seat
from balsam.launcher.reports import JOB_OUTPUT, Ending
from balsam.platform.nodes import Node
from balsam.runtime import job_output
from balsam.runtime.children import NODE_SHORT, Spawner, signal_group
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.job_output import Attempt
from balsam.runtime.memory_kills import MemoryKills
from balsam.runtime.requests import Reply, Request
from balsam.runtime.worker_pool import Ticket, WorkerPool, WorkerSetting

log = logging.getLogger(__name__)

MAX_WORKERS = 4096
MEMORY_CODES = (-Signals.SIGKILL, 128 + Signals.SIGKILL)
LOOK_SEC = 5.0  # between looks at the sizes of the runs' outputs


class NotStartable(Exception):
    """A run that can't be started for a reason of its own; the sentence says which."""


class NodeShort(Exception):
    """A run that its node can't start for the moment, for want of processes, memory or files."""


def unstarted(exc: OSError, sentence: str, reason: str | None = None) -> NotStartable | NodeShort:
    """What it means that a run could not be started: the run's own fault, or its node's."""
    return (NodeShort if exc.errno in NODE_SHORT else NotStartable)(f"{sentence}: {reason or exc.strerror}")


def unforeseen(exc: Exception, what: str) -> str:
    """The sentence for a job on which this program itself stumbles, with a traceback in its log."""
    log.error("a job could not be %s, for a reason that nobody foresaw", what, exc_info=exc)
    return f"it can't be {what}: {type(exc).__name__}: {exc} (the launcher's log has more)"


@dataclass(frozen=True, slots=True)
class Start:
    """What is to be started: a command, or the `run()` that a request names.

    In mpi mode both may be given: the command then is no more than the preamble of `run()`.

    `job`: its JSON record. `workdir`: absolute. `environment`: the run's own variables, beside those of
    every run. `seats`: where.
    """

    job: Mapping[str, Any] = field(repr=False)
    workdir: str
    environment: Mapping[str, str]
    seats: tuple[Seat, ...]
    command: Command | None = None
    request: Request | None = field(default=None, repr=False)

    @property
    def job_id(self) -> int:
        number: int = self.job["id"]
        return number

    @property
    def attempt(self) -> Attempt:
        """This run."""
        return Attempt(self.job_id, self.job.get("num_runs", 0) + 1)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What an executor tells its loop, from within that loop's selector.

    `on_start(job_id, us)`, `on_end(job_id, ending)` once for each run, or `on_refused(job_id, reason)` where
    its node can't start any for the moment; `on_join(node)` when there is one node more to run on,
    `on_lost(node name, reason)` when it is gone; the ends of its runs follow. `on_warned(node name, reason)`:
    somebody else is ending all that is there.
    """

    on_start: Callable[[int, int], None]
    on_end: Callable[[int, Ending], None]
    on_refused: Callable[[int, str], None]
    on_join: Callable[[Node], None]
    on_lost: Callable[[str, str], None]
    on_warned: Callable[[str, str], None]


class Executor(Protocol):
    """Starts runs on the nodes of a launcher and signals them."""

    def __len__(self) -> int:
        """Runs that have not ended."""
        ...

    def start(self, what: Start) -> None:
        """Raises NotStartable or NodeShort."""
        ...

    def signal(self, job_id: int, number: Signals) -> None:
        """To a run's whole process group. A run that is ended so tells its ending as any other."""
        ...

    def jobs_of(self, killed: Collection[int]) -> set[int]:
        """Those whose runs the guard has ended: in these process groups, or on other nodes."""
        ...

    def resume(self, *, after_kill: bool) -> None:
        """The guard was renewed, and may have killed before: what waited for that goes on."""
        ...

    def flush(self) -> None:
        """Called after each turn of the loop: what was started or signalled meanwhile goes out."""
        ...

    def beat(self) -> None:
        """Called by another thread, several times within a guard's limit: says elsewhere that all is well."""
        ...

    def keep_up(self) -> None:
        """Called every now and then, after all that has come was read."""
        ...

    @property
    def expects_nodes(self) -> bool:
        """Whether nodes may still join."""
        ...

    def close(self) -> None:
        """Kills what is left; nothing more is told."""
        ...


@dataclass(eq=False, slots=True)
class _Process:
    """A command's process group; `pidfd` becomes readable when its leader ends."""

    job_id: int
    pid: int
    pidfd: int
    refine: Callable[[Ending], Ending]
    memory_kills: int  # of the kernel, when it started


@dataclass(frozen=True, slots=True)
class _Output:
    """What a run writes: `begins` bytes were there before. `begun`: its job.out is surely there by now."""

    workdir: str
    attempt: Attempt
    begins: int
    begun: bool

    @property
    def size(self) -> int:
        """What the run has written so far; 0 where job.out is still, or already, another run's."""
        path = f"{self.workdir}/{JOB_OUTPUT}"
        own = job_output.owner_of(path)
        is_own = own == self.attempt or (own is None and self.begun)
        return _size(path) - self.begins if self.begins or is_own else 0

    def may_exceed(self, limit: int) -> bool:
        """The same at less cost, in nearly all cases."""
        return _size(f"{self.workdir}/{JOB_OUTPUT}") - self.begins > limit


class LocalExecutor:
    """Runs commands as process groups of this node, and `run()` methods in warm workers.

    `setting`: of the workers; its environment is that of every run. A run whose output outgrows
    `max_output_bytes` is killed.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        setting: WorkerSetting,
        guard: GuardLink,
        callbacks: Callbacks,
        max_output_bytes: int,
    ) -> None:
        self._selector = selector
        self._guard = guard
        self._max_output_bytes = max_output_bytes
        self._floods: set[int] = set()
        self._outputs: dict[int, _Output] = {}
        # How a run is ended that has to be; another executor that uses this one may know better.
        self.kill: Callable[[int], None] = lambda job_id: self.signal(job_id, Signals.SIGKILL)
        self._look_at = time.monotonic() + LOOK_SEC
        self._environment = setting.environment or {}
        self._on_start = callbacks.on_start
        self._on_end = callbacks.on_end
        self._on_refused = callbacks.on_refused
        self._pool = WorkerPool(MAX_WORKERS, setting, guard)
        self._selector.register(self._pool, selectors.EVENT_READ, self._pool.dispatch)
        self._processes: dict[int, _Process] = {}
        self._tickets: dict[int, Ticket] = {}
        self._spawner = Spawner()
        self._memory_kills = MemoryKills()
        # Process groups that the guard is to hear of at the end of this turn.
        self._new: list[int] = []
        self._gone: list[int] = []
        self._ends = select.epoll()
        self._by_pidfd: dict[int, _Process] = {}
        self._selector.register(self._ends, selectors.EVENT_READ, self._reap_ended)

    def __len__(self) -> int:
        return len(self._processes) + len(self._tickets)

    def start(self, what: Start) -> None:
        """Output goes to job.out in the workdir, which is made if it is missing."""
        if what.request is not None:
            self._start_function(what, what.request)
            return
        assert what.command is not None, "one of the two"
        environment = {**self._environment, **what.environment, **what.command.environment}
        try:
            words = argument_list(what.command, environment)
        except CommandError as exc:
            raise NotStartable(str(exc)) from exc
        self.start_words(what, words, what.command.text, environment)

    def start_words(
        self,
        what: Start,
        words: list[str],
        text: str,
        environment: Mapping[str, str],
        refine: Callable[[Ending], Ending] = lambda ending: ending,
    ) -> None:
        """Starts a program; `environment`: all of it. `text`: what a shell gets where the program is none.

        `refine` adds to its ending what the program itself left behind of it.
        """
        job_id, workdir = what.job_id, what.workdir
        environment = {**environment, "PWD": workdir}
        output = open_output(workdir, what.attempt)
        size = os.fstat(output).st_size
        try:
            stamp = now_us()
            pid = self._spawn(words, text, workdir, environment, output)
        except ValueError as exc:  # `check_startable` knows of none
            raise NotStartable(f"can't start {words[0]!r}: {exc}") from exc
        except OSError as exc:
            program = shutil.which(words[0], path=environment.get("PATH")) or words[0]
            raise unstarted(exc, f"can't start {words[0]!r}", why_not(program, workdir, exc)) from exc
        finally:
            os.close(output)
        kills = self._memory_kills.before()
        process = _Process(job_id, pid, self._pidfd(pid), refine, kills)
        self._new.append(pid)
        self._outputs[job_id] = _Output(workdir, what.attempt, size, begun=True)
        self._processes[job_id] = self._by_pidfd[process.pidfd] = process
        self._ends.register(process.pidfd, select.EPOLLIN)
        self._on_start(job_id, stamp)

    def _pidfd(self, pid: int) -> int:
        try:
            return os.pidfd_open(pid)
        except OSError as exc:
            # Nobody would ever learn of its end.
            signal_group(pid, Signals.SIGKILL)
            os.waitpid(pid, 0)
            raise unstarted(exc, "can't watch a process") from exc

    def _spawn(
        self, words: list[str], text: str, workdir: str, environment: Mapping[str, str], output: int
    ) -> int:
        try:
            return self._spawner.start(words, workdir, environment, output)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script without a `#!` line: shells run it themselves.
            return self._spawner.start(shell(text), workdir, environment, output)

    def _start_function(self, what: Start, request: Request) -> None:
        """Hands a run() to a worker, as soon as one is ready; the worker makes the workdir."""
        job_id, workdir = what.job_id, request.workdir
        begins = job_output.size_before(workdir)
        self._outputs[job_id] = _Output(workdir, what.attempt, begins, begun=False)
        self._tickets[job_id] = self._pool.submit(
            request, done=partial(self._replied, job_id), on_start=partial(self._on_start, job_id)
        )

    def signal(self, job_id: int, number: Signals) -> None:
        process = self._processes.get(job_id)
        ticket = self._tickets.get(job_id)
        if process is not None:
            signal_group(process.pid, number)
        elif ticket is not None:
            self._pool.signal(ticket, number)

    def jobs_of(self, killed: Collection[int]) -> set[int]:
        # Groups of which the guard has not heard carry its mark: it has killed them as well.
        gone = {*killed, *self._new}
        commands = {job_id for job_id, process in self._processes.items() if process.pid in gone}
        functions = {
            job_id
            for job_id, ticket in self._tickets.items()
            if ticket.worker is not None and ticket.worker.process.pid in gone
        }
        return commands | functions

    def resume(self, *, after_kill: bool) -> None:
        self._pool.dispatch()

    def flush(self) -> None:
        """Tells the guard of this turn's groups. Until then it finds their processes by its mark on them."""
        if self._gone:
            self._guard.remove(*self._gone)
            self._gone.clear()
        if self._new:
            self._guard.add(*self._new)
            self._new.clear()

    def beat(self) -> None:
        pass

    def keep_up(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SEC
            self._end_floods()

    def _end_floods(self) -> None:
        limit = self._max_output_bytes
        for job_id, output in self._outputs.items():
            if job_id not in self._floods and output.may_exceed(limit) and output.size > limit:
                self._floods.add(job_id)
                self.kill(job_id)

    def _tell_end(self, job_id: int, ending: Ending) -> None:
        begins = self._outputs.pop(job_id).begins
        if begins:
            ending = replace(ending, output_begins=begins)
        if job_id in self._floods:
            self._floods.discard(job_id)
            limit = f"{self._max_output_bytes >> 20} MB (launcher.max_output_mb)"
            ending = replace(ending, error=f"job.out grew beyond {limit} in one run, which was ended")
        self._on_end(job_id, ending)

    @property
    def expects_nodes(self) -> bool:
        return False

    def close(self) -> None:
        for process in self._processes.values():
            signal_group(process.pid, Signals.SIGKILL)
            self._gone.append(process.pid)
        self.flush()
        self._pool.close()
        self._spawner.close()

    def _reap_ended(self) -> None:
        for pidfd, _ in self._ends.poll(0):
            self._reap(self._by_pidfd.pop(pidfd))

    def _reap(self, process: _Process) -> None:
        ended_us = now_us()
        # While its leader is not yet waited for, the group's number belongs to nobody else.
        signal_group(process.pid, Signals.SIGKILL)
        returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        # Closing alone would not do: a child between fork and exec still has it open.
        self._ends.unregister(process.pidfd)
        os.close(process.pidfd)
        if process.pid in self._new:
            self._new.remove(process.pid)
        else:
            self._gone.append(process.pid)
        del self._processes[process.job_id]
        error = _signal_sentence(returncode)
        if returncode in MEMORY_CODES and self._memory_kills.now() > process.memory_kills:
            error = "killed for want of memory, by the kernel"
        ending = Ending(returncode, ended_us, error)
        self._tell_end(process.job_id, process.refine(ending))

    def _replied(self, job_id: int, reply: Reply) -> None:
        del self._tickets[job_id]
        if reply.node_short:
            del self._outputs[job_id]
            self._floods.discard(job_id)
            self._on_refused(job_id, reply.error)
            return
        if reply.ok:
            payload = {"serialized_return_value": reply.serialized_return_value}
            self._tell_end(job_id, Ending(0, reply.ended_us, payload=payload))
            return
        payload = {"serialized_exception": reply.serialized_exception} if reply.serialized_exception else {}
        ended_us = reply.ended_us or now_us()
        self._tell_end(
            job_id, Ending(reply.return_code, ended_us, reply.error, payload, outside=reply.outside)
        )


def make_workdir(workdir: str) -> None:
    """Makes the workdir if it is missing; raises NotStartable or NodeShort."""
    try:
        try:
            os.mkdir(workdir)  # noqa: PTH102 - once per run, and pathlib takes longer than the kernel
        except FileExistsError:
            pass
        except FileNotFoundError:
            os.makedirs(workdir, exist_ok=True)  # noqa: PTH103 - as above
    except OSError as exc:
        raise unstarted(exc, f"can't make the workdir {workdir}") from exc


def open_output(workdir: str, attempt: Attempt) -> int:
    """A run's job.out, begun; makes the workdir if it is missing. Raises NotStartable or NodeShort."""
    make_workdir(workdir)
    try:
        return job_output.begin(workdir, attempt)
    except OSError as exc:
        raise unstarted(exc, f"can't write job.out in {workdir}") from exc


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as above
    except OSError:
        return 0  # not there yet


def _signal_sentence(returncode: int) -> str:
    if returncode >= 0:
        return ""
    try:
        name = Signals(-returncode).name
    except ValueError:
        name = str(-returncode)
    return f"ended by signal {name}"
