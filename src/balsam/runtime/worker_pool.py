"""Warm Python workers that run users' app classes, and the pool that feeds them.

User code never runs in a launcher or agent: it runs in `balsam.runtime.python_worker` children, each of
which serves one request after the other over a socket. A child that dies costs only its request.

`WorkerPool` belongs to one thread: register its `fileno()` with a selector, call `dispatch()` when it is
readable; replies come through the callbacks of `submit`. Programs with several threads use
`runtime.shared_pool`.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import Signals
from typing import Any, Protocol

import orjson

from balsam.core.clock import now_us
from balsam.core.start import command as start_command
from balsam.runtime.children import NODE_SHORT, await_program, hangs_in_a_file, signal_group
from balsam.runtime.frames import CLOSED_CODE, FrameReader, frame
from balsam.runtime.memory_kills import MemoryKills
from balsam.runtime.requests import Kind, Reply, Request, encode_request

log = logging.getLogger(__name__)

ENDING = (Signals.SIGTERM, Signals.SIGKILL)
OUTSIDE = {-Signals.SIGKILL, -Signals.SIGTERM, -Signals.SIGHUP}  # what others end a process with
DYING_MS = 50
MOST_STILLBIRTHS = 3  # workers in a row that somebody kills before they are ready
READ_BYTES = 1 << 18
MAX_IDLE = 16  # workers that are kept for apps of which no run waits
REAP_SEC = 2.0  # SIGKILL works at once unless the kernel itself hangs (a dead file server)


class Guarding(Protocol):
    """Who kills process groups when this process is gone or frozen.

    `beat` answers False when it may be at it: what is started or handed out then may be killed.
    """

    def add(self, pgid: int) -> None: ...
    def remove(self, pgid: int) -> None: ...
    def beat(self) -> bool: ...


class NoGuard:
    def add(self, pgid: int) -> None:
        pass

    def remove(self, pgid: int) -> None:
        pass

    def beat(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class WorkerSetting:
    """What every worker of a pool is given: the site, its environment, and where its own output goes."""

    site_path: str
    environment: Mapping[str, str] | None = None  # None: this process's own
    output: int | None = None  # a file descriptor; None: this process's own


class Ticket:
    """A submitted request: waiting, handed to a worker, or answered."""

    __slots__ = ("done", "on_start", "request", "signalled", "worker")

    def __init__(
        self,
        request: Request,
        done: Callable[[Reply], None],
        on_start: Callable[[int], None] | None,
    ) -> None:
        self.request = request
        self.done = done
        self.on_start = on_start
        self.worker: _Worker | None = None
        self.signalled = False


class _Worker:
    """One child, from its start to its reaping."""

    def __init__(
        self, process: subprocess.Popen[bytes], link: socket.socket, interpreter: str, fresh: bool
    ) -> None:
        self.process = process
        self.link = link
        self.pidfd = os.pidfd_open(process.pid)
        self.interpreter = interpreter
        self.fresh = fresh
        self.ready = False
        self.writing = False
        self.buried = False
        self.ticket: Ticket | None = None
        self.memory_kills = 0  # when it began what it does
        self.known_apps: set[tuple[int, str]] = set()
        self.incoming = FrameReader()
        self.outgoing = bytearray()

    @property
    def idle(self) -> bool:
        return self.ready and self.ticket is None


class WorkerPool:
    """Up to `size` workers, started when they are needed and kept for the next request.

    Not safe for threads; nothing here blocks. `done` callbacks are called from `dispatch` and `close` only,
    so they may submit again.

    While its guard kills, requests wait: call `dispatch` after the guard was renewed.
    """

    def __init__(self, size: int, setting: WorkerSetting, guard: Guarding | None = None) -> None:
        self.size = size
        self._setting = setting
        self._guard = guard or NoGuard()
        self._epoll = selectors.EpollSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, selectors.EVENT_READ)
        self._workers: list[_Worker] = []
        self._waiting: deque[Ticket] = deque()
        self._answers: deque[tuple[Ticket, Reply]] = deque()
        self._unreaped: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._memory_kills = MemoryKills()
        self._stillbirths = 0

    def fileno(self) -> int:
        """Readable when `dispatch` has something to do."""
        return self._epoll.fileno()

    def __len__(self) -> int:
        return len(self._workers)

    def submit(
        self,
        request: Request,
        done: Callable[[Reply], None],
        on_start: Callable[[int], None] | None = None,
    ) -> Ticket:
        """Queues a request; `on_start(us)` when a worker gets it, then `done(reply)` exactly once."""
        ticket = Ticket(request, done, on_start)
        self._waiting.append(ticket)
        self._assign()
        return ticket

    def warm(self, count: int, interpreter: str = sys.executable) -> None:
        """Starts workers ahead of their first request."""
        for _ in range(min(count, self.size) - len(self._workers)):
            self._start(interpreter, fresh=False)

    def dispatch(self, timeout: float | None = 0.0) -> None:
        """Reads replies, calls their callbacks, hands out waiting requests; waits at most `timeout` s."""
        for key, events in self._epoll.select(timeout):
            worker: _Worker | None = key.data
            if worker is None:
                os.eventfd_read(self._bell)
                continue
            if events & selectors.EVENT_WRITE:
                self._flush(worker)
            if events & selectors.EVENT_READ:
                self._read(worker)
            if key.fd == worker.pidfd:
                self._read(worker)  # it may have answered before it died
                self._bury(worker)  # the socket may stay open in children that it forked
        self._unreaped = [p for p in self._unreaped if p.poll() is None]
        while self._answers:
            ticket, reply = self._answers.popleft()
            ticket.done(reply)
        self._assign()

    def kill(self, ticket: Ticket) -> None:
        """Ends a request with its worker's whole process group; its reply comes as `crashed`."""
        self.signal(ticket, Signals.SIGKILL)

    def hangs_in_a_file(self, ticket: Ticket) -> bool:
        """Whether what serves the request waits for a filesystem."""
        return ticket.worker is not None and hangs_in_a_file(ticket.worker.process.pid)

    def signal(self, ticket: Ticket, number: Signals) -> None:
        """To the worker's process group. A request that still waits is ended by what asks for its end."""
        ticket.signalled = True
        if ticket.worker is not None:
            signal_group(ticket.worker.process.pid, number)
        elif number in ENDING and ticket in self._waiting:
            self._waiting.remove(ticket)
            self._fail(ticket, "killed before it started")

    def close(self) -> None:
        """Kills all workers; open requests are answered as crashed."""
        self._closed = True
        for worker in list(self._workers):
            self._bury(worker)
        while self._waiting:
            self._fail(self._waiting.popleft(), "the pool was closed")
        while self._answers:
            ticket, reply = self._answers.popleft()
            ticket.done(reply)
        self._epoll.close()
        os.close(self._bell)

    def _fail(
        self,
        ticket: Ticket,
        sentence: str,
        *,
        node_short: bool = False,
        outside: bool = False,
        code: int = 1,
    ) -> None:
        reply = Reply(
            ticket.request,
            ok=False,
            error=sentence,
            crashed=True,
            node_short=node_short,
            outside=outside,
            return_code=code,
        )
        self._answers.append((ticket, reply))
        os.eventfd_write(self._bell, 1)

    def _assign(self) -> None:
        """Hands waiting requests to idle workers; starts workers for what is left, as far as allowed."""
        if not self._waiting or not self._guard.beat():
            return
        unborn = Counter((w.interpreter, w.fresh) for w in self._workers if not w.ready)
        passed: list[Ticket] = []
        while self._waiting and not self._closed:
            ticket = self._waiting.popleft()
            request = ticket.request
            worker = self._idle_worker(request)
            if worker is not None:
                self._hand(worker, ticket)
                continue
            if unborn[request.interpreter, request.fresh] > 0:
                unborn[request.interpreter, request.fresh] -= 1
            elif self._make_room():
                try:
                    self._start(request.interpreter, request.fresh)
                except (OSError, ValueError) as exc:  # ValueError: the name holds what no name may
                    reason = exc.strerror if isinstance(exc, OSError) else exc
                    sentence = f"can't start the interpreter {request.interpreter}: {reason}"
                    whose = _whose(request.interpreter)
                    short = getattr(exc, "errno", None) in NODE_SHORT
                    self._fail(ticket, f"{sentence}{whose}", node_short=short)
                    continue
            else:
                passed.append(ticket)
                break
            passed.append(ticket)
        self._waiting.extendleft(reversed(passed))

    def _idle_worker(self, request: Request) -> _Worker | None:
        """The idle worker that was started last; one that knows the app if any."""
        best: _Worker | None = None
        key = (request.app.app_id, request.app.digest)
        for worker in reversed(self._workers):
            if worker.idle and _fits(worker, request):
                if key in worker.known_apps:
                    return worker
                best = best or worker
        return best

    def _make_room(self) -> bool:
        idle = [worker for worker in self._workers if worker.idle]  # of other apps, or one would be used
        is_full = len(self._workers) >= self.size
        if idle and (is_full or len(idle) >= MAX_IDLE):
            self._bury(idle[0])
        return bool(idle) or not is_full

    def _start(self, interpreter: str, fresh: bool) -> None:
        """Starts a worker; raises OSError."""
        ours, theirs = socket.socketpair()
        command = start_command("balsam.runtime.python_worker", interpreter)
        command += [str(theirs.fileno()), self._setting.site_path]
        await_program(command[0])
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._setting.output,
                stderr=self._setting.output,
                env=self._setting.environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            worker = _Worker(process, ours, interpreter, fresh)
        except (OSError, ValueError):
            ours.close()  # a process that is there already ends with it
            raise
        finally:
            theirs.close()
        self._guard.add(process.pid)
        ours.setblocking(False)
        self._workers.append(worker)
        self._epoll.register(ours, selectors.EVENT_READ, worker)
        self._epoll.register(worker.pidfd, selectors.EVENT_READ, worker)

    def _hand(self, worker: _Worker, ticket: Ticket) -> None:
        worker.ticket = ticket
        worker.memory_kills = self._memory_kills.before()
        ticket.worker = worker
        if ticket.on_start is not None:
            ticket.on_start(now_us())
        worker.outgoing += frame(encode_request(ticket.request, worker.known_apps))
        self._flush(worker)

    def _flush(self, worker: _Worker) -> None:
        if worker.buried:
            return
        try:
            while worker.outgoing:
                sent = worker.link.send(worker.outgoing)
                del worker.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            worker.outgoing.clear()  # it is dying: the end of its stream says so
        if bool(worker.outgoing) != worker.writing:
            worker.writing = bool(worker.outgoing)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.writing else 0)
            self._epoll.modify(worker.link, events, worker)

    def _read(self, worker: _Worker) -> None:
        while not worker.buried:
            try:
                data = worker.link.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._bury(worker)
                return
            for body in worker.incoming.feed(data):
                self._answer(worker, orjson.loads(body))
            if len(data) < READ_BYTES:
                return

    def _answer(self, worker: _Worker, message: dict[str, Any]) -> None:
        ticket, worker.ticket = worker.ticket, None
        worker.ready = True
        self._stillbirths = 0
        if ticket is None:
            return  # its greeting
        ticket.worker = None
        worn = message.pop("worn", "")
        if worn:
            log.info("a step of %s left %s: its process ends", ticket.request.app.name, worn)
        self._answers.append((ticket, Reply(ticket.request, **message)))
        if worker.fresh or worn:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """Ends a worker that is dead, surplus or spoilt, and answers for what it leaves undone."""
        if worker.buried:
            return
        worker.buried = True
        has_died = self._has_died(worker)
        self._workers.remove(worker)
        self._epoll.unregister(worker.link)
        self._epoll.unregister(worker.pidfd)
        worker.link.close()
        os.close(worker.pidfd)
        # Idle workers end at the end of their stream, but what user code left behind in the group may not.
        signal_group(worker.process.pid, Signals.SIGKILL)
        self._guard.remove(worker.process.pid)
        epitaph = self._reap(worker.process)
        outside = has_died and worker.process.returncode in OUTSIDE
        if worker.ticket is not None:
            worker.ticket.worker = None
            self._tell_death(worker, worker.ticket, epitaph, has_died)
        elif not worker.ready and not self._closed:
            self._stillbirths += outside
            if not outside or self._stillbirths >= MOST_STILLBIRTHS:
                self._give_up_on(worker, epitaph, outside)

    def _has_died(self, worker: _Worker) -> bool:
        """Whether it has ended by now; the end of its stream comes a moment before its own."""
        if worker.ticket is None and worker.ready:
            return False  # it is not missed, and so nobody asks
        ends = select.poll()
        ends.register(worker.pidfd, select.POLLIN)
        return bool(ends.poll(DYING_MS))

    def _tell_death(self, worker: _Worker, ticket: Ticket, epitaph: str, has_died: bool) -> None:
        """Of a worker that had something to do."""
        outside = has_died and worker.process.returncode in OUTSIDE
        ended = worker.process.returncode  # None: it hangs in the kernel
        code = -int(Signals.SIGKILL) if ended in (None, CLOSED_CODE) else ended
        closed = not has_died or ended == CLOSED_CODE
        if outside and self._memory_kills.now() > worker.memory_kills:
            sentence = f"killed for want of memory: the Python worker died with {epitaph}"
            self._fail(ticket, sentence, code=code)
        elif closed and not ticket.signalled and not self._closed:
            sentence = (
                "run() or a hook closed the connection of its Python worker (all files?), which was ended"
            )
            self._fail(ticket, sentence, code=code)
        elif outside and not ticket.signalled and not self._closed:
            sentence = f"the Python worker was killed from outside, by {epitaph}"
            self._fail(ticket, sentence, outside=True, code=code)
        else:
            self._fail(ticket, f"the Python worker died with {epitaph}", code=code)

    def _reap(self, process: subprocess.Popen[bytes]) -> str:
        try:
            code = process.wait(REAP_SEC)
        except subprocess.TimeoutExpired:
            self._unreaped.append(process)  # it hangs in the kernel: the loop can't wait for that
            return "SIGKILL, which it has not obeyed yet"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _give_up_on(self, worker: _Worker, epitaph: str, outside: bool) -> None:
        """A worker that never came up would be started again for ever: its first waiter is answered."""
        ticket = next((t for t in self._waiting if _fits(worker, t.request)), None)
        if ticket is not None:
            self._waiting.remove(ticket)
            whose = _whose(worker.interpreter, ": is balsam installed in it? The log has its own words")
            sentence = f"the Python worker ({worker.interpreter}) did not start: {epitaph}{whose}"
            self._fail(ticket, sentence, node_short=outside)


def _whose(interpreter: str, remedy: str = "") -> str:
    """Where an interpreter that is not this one comes from."""
    return f" (the app's python_exe{remedy})" if interpreter != sys.executable else ""


def _fits(worker: _Worker, request: Request) -> bool:
    if (worker.interpreter, worker.fresh) != (request.interpreter, request.fresh):
        return False
    # What a run() has done to its process is seen by runs of the same app only.
    return request.kind is not Kind.run or worker.known_apps <= {(request.app.app_id, request.app.digest)}
