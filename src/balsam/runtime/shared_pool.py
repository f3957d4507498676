"""A worker pool for programs with several threads, such as an agent that runs hooks."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from balsam.runtime.requests import Reply, Request
from balsam.runtime.worker_pool import Guarding, Ticket, WorkerPool, WorkerSetting

log = logging.getLogger(__name__)

AGAIN_SEC = 1.0  # after what nobody foresaw


class SharedWorkerPool:
    """A worker pool for a program with several threads: `call` waits for its reply.

    One service thread owns the pool inside. Start, then stop; as a context manager both are done.
    """

    def __init__(self, size: int, setting: WorkerSetting, guard: Guarding | None = None) -> None:
        self._pool = WorkerPool(size, setting, guard)
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._inbox: deque[Callable[[], object]] = deque()
        self._tickets: dict[Future[Reply], Ticket] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="worker-pool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Kills what runs; every open call is answered as crashed."""
        self._stopping = True
        self._wake()
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def __enter__(self) -> SharedWorkerPool:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def resume(self) -> None:
        """From any thread: the guard was renewed, requests that waited for that go on."""
        self._wake()

    def submit(self, request: Request, on_start: Callable[[int], None] | None = None) -> Future[Reply]:
        """The reply to come; `on_start(us)` is called in the pool's thread when a worker gets the request."""
        future: Future[Reply] = Future()
        self._post(lambda: self._begin(request, future, on_start))
        return future

    def kill(self, future: Future[Reply]) -> None:
        """From any thread: ends what `submit` began; its reply comes as crashed."""
        self._post(lambda: self._kill(future))

    def _kill(self, future: Future[Reply]) -> None:
        ticket = self._tickets.get(future)
        if ticket is not None:
            self._pool.kill(ticket)

    def call(self, request: Request, timeout: float | None = None) -> Reply:
        """The reply; after `timeout` seconds the worker is killed and the reply says so."""
        future = self.submit(request)
        try:
            return future.result(timeout)
        except TimeoutError:
            self.kill(future)
            reply = future.result()
            sentence = f"took longer than {timeout:g} s and was killed"
            return Reply(request, ok=False, error=sentence, crashed=True) if reply.crashed else reply

    def _begin(self, request: Request, future: Future[Reply], on_start: Callable[[int], None] | None) -> None:
        def done(reply: Reply) -> None:
            self._tickets.pop(future, None)
            future.set_result(reply)

        self._tickets[future] = self._pool.submit(request, done, on_start)

    def _post(self, action: Callable[[], object]) -> None:
        self._inbox.append(action)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wake_out, b".")

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            selector.register(self._pool, selectors.EVENT_READ)
            while not self._stopping:
                try:
                    self._turn(selector)
                except Exception:  # the top of the thread, without which no hook ran any more
                    log.exception("the workers can't be looked after; it is tried again")
                    time.sleep(AGAIN_SEC)
        while self._inbox:
            self._inbox.popleft()()
        self._pool.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select():
            if key.fd == self._wake_in:
                os.read(self._wake_in, 4096)
        while self._inbox:
            self._inbox.popleft()()
        self._pool.dispatch()
