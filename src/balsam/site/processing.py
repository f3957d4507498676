"""Runs apps' lifecycle hooks: acquires jobs that wait for one, runs it in a warm worker, reports."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from balsam.client.errors import NotFoundError
from balsam.client.transport import Client
from balsam.core.limits import MAX_JOBS_PER_SESSION_ACQUIRE
from balsam.runtime.requests import Reply, Request
from balsam.runtime.shared_pool import SharedWorkerPool
from balsam.site import hooks
from balsam.site.services import OUTAGES, Bell, Outage, Stop, all_records
from balsam.site.session import AgentSession
from balsam.site.wire_text import storable

log = logging.getLogger(__name__)

TICK_SEC = 15.0
BUSY_SEC = 3.0  # after which the server is told of new jobs whose hooks still run
POLL_SEC = 30.0  # the safety net below the stream
ATTEMPTS = 2  # of a hook whose worker dies
SHORT_SEC = 5.0  # before the next attempt where this host lacks processes, memory or files
HOOK_OUTPUT = "balsam.log"

Record = dict[str, Any]


class AppCache:
    """Apps by id, as the server has them; forgotten when the server says that they changed."""

    def __init__(self, client: Client, site_id: int) -> None:
        self._client = client
        self._site_id = site_id
        self._apps: dict[int, Record] = {}
        self._stale = False

    def forget(self) -> None:
        """From any thread: what is known may be old."""
        self._stale = True

    def of(self, versions: Mapping[int, int]) -> dict[int, Record]:
        """Those of these apps that exist, in these versions or newer ones."""
        if self._stale:
            self._stale = False
            self._apps.clear()
        missing = sorted(
            i for i, n in versions.items() if i not in self._apps or self._apps[i]["version"] < n
        )
        if missing:
            query = {"site_id": self._site_id, "id": missing}
            self._apps.update({app["id"]: app for app in all_records(self._client, "/apps/", query)})
        return {i: self._apps[i] for i in versions if i in self._apps}


def room_for(prefetch_depth: int, in_hand: int) -> int:
    """How many jobs to ask for: none until a good part of the shelf is empty, so that requests are few."""
    room = prefetch_depth - in_hand
    return min(room, MAX_JOBS_PER_SESSION_ACQUIRE) if room >= max(1, prefetch_depth // 4) else 0


def acquire_gap(fruitless: int) -> float:
    """Seconds between requests for jobs, after so many in a row that found none.

    A ring says that jobs entered a state in which an app may have a hook. Where many run whose apps have
    none, each ring would be a request in vain.
    """
    return 0.02 if fruitless == 0 else min(1.0, 0.05 * 2.0 ** min(fruitless - 1, 10))


class ProcessingService:
    """Acquires when it rings, when the shelf empties, and every half minute; beats in between."""

    name = "processing"

    def __init__(
        self,
        client: Client,
        session: AgentSession,
        apps: AppCache,
        pool: SharedWorkerPool,
        data_path: Path,
        prefetch_depth: int,
        bell: Bell,
        report: Callable[[Record], None],
    ) -> None:
        self._session = session
        self._apps = apps
        self._pool = pool
        self._data_path = data_path
        self._prefetch_depth = prefetch_depth
        self.bell = bell
        self._report = report
        self._in_hand: dict[int, Record] = {}
        self._hooks: dict[int, Future[Reply]] = {}
        self._killed: dict[int, str] = {}
        self._again: deque[tuple[float, Callable[[], None]]] = deque()
        self._short: dict[int, str] = {}  # jobs whose hooks could not begin, and why
        self._begun: dict[int, int] = {}  # when hooks that run were begun, in microseconds
        self._more = True
        self._fruitless = 0
        self._next_acquire = 0.0
        self._next_poll = 0.0
        self._next_tick = 0.0
        self._outage = Outage()

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            try:
                pause = self._step()
                self._outage.answered()
            except NotFoundError:
                log.warning("session %s has ended; a new one begins", self._session.id)
                self._session.id = None
                pause = 0.0
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
            if self.bell.wait(pause):
                self._more = True

    def check_session(self) -> None:
        """From any thread: there is reason to believe that the session has ended."""
        self._next_tick = 0.0
        self.bell.ring()

    def kill(self, job_id: int, by: str) -> str:
        """From any thread: ends the job's hook, and with it the job; what it does."""
        if job_id not in self._in_hand:
            return "not here"
        self._killed[job_id] = by
        hook = self._hooks.get(job_id)
        if hook is not None:
            self._pool.kill(hook)
        return "ending"

    def settled(self, job_ids: Iterable[int]) -> None:
        """From any thread: the server has the results of these jobs."""
        before = room_for(self._prefetch_depth, len(self._in_hand))
        for job_id in job_ids:
            self._in_hand.pop(job_id, None)
            self._hooks.pop(job_id, None)
            self._killed.pop(job_id, None)
        if not before and self._more:
            self.bell.ring()

    def _step(self) -> float:
        """Beats and acquires as is due; the seconds until the next."""
        if self._session.id is None:
            self._session.open()
            self._next_tick = time.monotonic() + TICK_SEC
            self._more = True
        if time.monotonic() >= self._next_tick:
            self._beat()
        now = time.monotonic()
        while self._again and now >= self._again[0][0]:
            self._again.popleft()[1]()
        if now >= self._next_poll or (self._more and now >= self._next_acquire):
            self._acquire()
        full = not room_for(self._prefetch_depth, len(self._in_hand))
        wanted = self._next_acquire if self._more and not full else self._next_poll
        again = [at for at, _ in list(self._again)[:1]]
        return min(self._next_tick, wanted, *again) - time.monotonic()

    def _beat(self) -> None:
        short = list(self._short.values())
        lost = self._session.tick(dict(self._begun), storable(short[0]) if short else "")
        self._next_tick = time.monotonic() + TICK_SEC
        if lost:
            log.warning("the session no longer holds %d jobs, e.g. %s", len(lost), sorted(lost)[:5])

    def _acquire(self) -> None:
        """Takes jobs until there are no more, or no room."""
        self._more = True
        while room := room_for(self._prefetch_depth, len(self._in_hand)):
            jobs = self._session.acquire(room)
            self._begin(jobs)
            self._fruitless = 0 if jobs else self._fruitless + 1
            if len(jobs) < room:
                self._more = False
                break
        now = time.monotonic()
        self._next_acquire, self._next_poll = now + acquire_gap(self._fruitless), now + POLL_SEC

    def _begin(self, jobs: list[Record]) -> None:
        if jobs:
            self._next_tick = min(self._next_tick, time.monotonic() + BUSY_SEC)
        apps = self._apps.of({job["app_id"]: job["app_version"] for job in jobs})
        for job in jobs:
            # A job that came back, from a session that was lost, while its hook still runs: that one counts.
            if job["id"] not in self._in_hand:
                self._in_hand[job["id"]] = job
                self._start(job, apps.get(job["app_id"]))

    def _start(self, job: Record, app: Record | None) -> None:
        if app is None:
            sentence = f"its app {job['app_id']} does not exist any more"
            self._report(hooks.failure(job, sentence, "", self._session.server_us()))
        elif not hooks.needs_worker(job, app):
            self._report(hooks.default_outcome(job, self._session.server_us()))
        else:
            self._run_hook(job, hooks.request_for(job, app, self._data_path, self._session.id), 1)

    def _run_hook(self, job: Record, request: Request, attempt: int) -> None:
        begun = partial(self._begun.__setitem__, job["id"])
        hook = self._pool.submit(request, begun)
        self._hooks[job["id"]] = hook
        hook.add_done_callback(partial(self._ended, job, attempt))
        if job["id"] in self._killed:
            self._pool.kill(hook)

    def _ended(self, job: Record, attempt: int, future: Future[Reply]) -> None:
        """In the pool's thread."""
        reply = future.result()
        self._begun.pop(job["id"], None)
        was_short = self._short.pop(job["id"], None) is not None
        if (by := self._killed.get(job["id"])) is not None:
            self._report(hooks.killed(job, by, self._session.server_us()))
            return
        if reply.node_short:
            log.warning("%s of job %d waits: %s", hooks.hook_of(job), job["id"], reply.error)
            self._short[job["id"]] = f"{reply.error}; it is tried again every {SHORT_SEC:g} s"
            if not was_short:
                self._next_tick = 0.0  # whoever asks why is to know
            again = partial(self._run_hook, job, reply.request, attempt)
            self._again.append((time.monotonic() + SHORT_SEC, again))
            self.bell.ring()
            return
        if reply.crashed and attempt < ATTEMPTS:
            # Somebody killed the worker, or the hook did: the second time it is the hook's own doing.
            self._note(job, f"{reply.error}; it runs again")
            self._run_hook(job, reply.request, attempt + 1)
            return
        update = hooks.outcome(job, reply, self._session.clock.us)
        if (reason := hooks.reason_of_failure(update)) is not None:
            self._note(job, reason)
        else:
            log.info("%s of job %d: it goes to %s", hooks.hook_of(job), job["id"], update["state"])
        self._report(update)

    def _note(self, job: Record, reason: str) -> None:
        """One line in the job's balsam.log: what fails outside of the hook is nowhere else there."""
        sentence = f"{hooks.hook_of(job)} of job {job['id']}: {reason}"
        log.warning("%s", sentence)
        workdir = self._data_path / job["workdir"]
        with contextlib.suppress(OSError):  # the workdir itself may be what is wrong
            workdir.mkdir(parents=True, exist_ok=True)
            with (workdir / HOOK_OUTPUT).open("a") as file:
                file.write(f"==== {time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")
