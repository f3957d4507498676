"""A launcher's one loop: takes in what happened, starts what fits, asks for more, watches the clock.

It sleeps until a run ends, the courier has news or something is due; never for a fixed period.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from balsam.core.clock import now_us
from balsam.launcher import appetite, reports
from balsam.launcher.apps import AppPlan
from balsam.launcher.backlog import Backlog, Waiting
from balsam.launcher.command import Command
from balsam.launcher.executor import Executor, NotStartable
from balsam.launcher.news import Acquired, Cut, Drain, Kill, Lost, Mailbox, News, Opened, Rejected
from balsam.launcher.placement import Need, NodeRoom, Share
from balsam.launcher.preparation import Preparation
from balsam.launcher.reports import Ending
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.updates import Update
from balsam.runtime.worker_pool import Kind, Request, WorkerPool, WorkerSetting

log = logging.getLogger(__name__)

TERM_GRACE_SEC = 5.0  # between SIGTERM and SIGKILL
MAX_WORKERS = 4096


class Reporting(Protocol):
    """The courier, as the loop sees it."""

    def report(self, *updates: Update) -> None: ...
    def ask(self, count: int, answers_seen: int) -> None: ...
    def acknowledge(self) -> None: ...
    def doubt(self) -> None: ...
    def give_back(self, job_ids: frozenset[int]) -> None: ...


@dataclass(frozen=True)
class Limits:
    """Times are of `time.monotonic()`."""

    end_at: float
    idle_ttl_sec: float
    prefetch_per_slot: int
    error_tail_lines: int
    stop_on_cut: bool


@dataclass(frozen=True)
class Surroundings:
    """Where runs happen: the site, this launcher's node, and what every run finds in its environment."""

    site_path: Path
    data_path: Path
    room: NodeRoom
    environment: Mapping[str, str]
    refuse: Callable[[Mapping[str, Any]], str | None]  # why a job can't run in this launcher, or None


@dataclass(slots=True, eq=False)
class _Running:
    job: Mapping[str, Any]
    need: Need
    share: Share
    workdir: str
    started: bool = False  # its start has been reported
    cut: str | None = None  # why it is being ended before its time
    killed_by: str | None = None  # who wanted it ended
    disowned: bool = False  # somebody else's by now: not reported


class Loop:
    """Runs jobs until the wall time, a stop signal, or nothing to do for `idle_ttl_sec`."""

    def __init__(self, around: Surroundings, limits: Limits, guard: GuardLink, mailbox: Mailbox) -> None:
        self._around = around
        self._limits = limits
        self._guard = guard
        self._selector = selectors.DefaultSelector()
        self._mailbox = mailbox
        self._selector.register(mailbox, selectors.EVENT_READ, self._hear)
        base = {**around.environment, **guard.environment}
        setting = WorkerSetting(str(around.site_path), base)
        self._environment = base
        self._runners = WorkerPool(MAX_WORKERS, setting, guard)
        self._preparers = WorkerPool(1, setting, guard)
        for pool in (self._runners, self._preparers):
            self._selector.register(pool, selectors.EVENT_READ, pool.dispatch)
        self._executor = Executor(self._selector, self._runners, guard, self._started, self._ended)
        self._preparation = Preparation(self._preparers, around.data_path, self._prepared, self._hopeless)
        self._courier: Reporting | None = None
        self._session_id: int | None = None
        self._preparing: dict[int, dict[str, Any]] = {}
        self._waiting = Backlog()
        self._running: dict[int, _Running] = {}
        self._updates: list[Update] = []
        self._pace = appetite.Pace()
        self._like = Need(packing=max(1, len(around.room.node.cpus)))
        self._trip_sec = 0.0
        self._answers = 0
        self._count = 0
        self._busy_at = time.monotonic()
        self._next_beat = 0.0
        self._stopping: str | None = None
        self._kill_at: float | None = None
        self._grace_over: dict[int, float] = {}  # when killed runs that go on get SIGKILL
        self._draining = False

    # ---- called from outside ----

    def watch_signals(self, fd: int, received: Callable[[], None]) -> None:
        """Calls `received` when a signal's wakeup byte arrives on `fd`."""
        self._selector.register(fd, selectors.EVENT_READ, received)

    def stop(self, reason: str) -> None:
        """Ends all runs: SIGTERM now, SIGKILL after a grace; nothing new is started."""
        if self._stopping is None:
            log.info("stopping: %s; %d runs are ended", reason, len(self._executor))
            self._stopping = reason
            self._cut_all(reason, kill=False)
            self._kill_at = time.monotonic() + TERM_GRACE_SEC

    def kill(self, job_id: int, by: str) -> str:
        """Ends a run as `stop` does, for good, or gives up a job that has not started; what it does."""
        run = self._running.get(job_id)
        if run is not None and run.killed_by is None:
            log.info("job %d is killed by %s", job_id, by)
            run.killed_by = by
            self._executor.end(job_id, kill=False)
            self._grace_over[job_id] = time.monotonic() + TERM_GRACE_SEC
        if run is not None:
            return "ending"
        if not self._forget({job_id}):
            return "not here"
        self._updates.append(reports.killed(job_id, now_us(), by, None))
        return "given up"

    def drain(self) -> None:
        """Starts nothing more, gives back what has not started, and ends when the last run has."""
        if not self._draining:
            log.info("draining: %d runs go on, nothing more is started", len(self._running))
            self._draining = True
            self._give_back_unstarted()

    def run(self, courier: Reporting) -> None:
        """Until there is nothing left to wait for; every run has ended and is reported by then."""
        self._courier = courier
        try:
            while not (self._stopping is not None and not len(self._executor)):
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
                self._turn()
            self._flush()
        finally:
            self._executor.end_all(kill=True)
            self._runners.close()
            self._preparers.close()
            log.info("%d runs ended", self._count)

    # ---- one turn ----

    def _turn(self) -> None:
        now = time.monotonic()
        self._keep_guard(now)
        self._watch_clock(now)
        if self._stopping is None:
            self._start_what_fits(now)
            self._ask(now)
        self._flush()

    def _timeout(self) -> float:
        now = time.monotonic()
        due = [self._next_beat, self._limits.end_at if self._stopping is None else self._kill_at or now]
        due += self._grace_over.values()
        if self._is_idle():
            due.append(self._busy_at + self._limits.idle_ttl_sec)
        return max(0.0, min(due) - now)

    def _keep_guard(self, now: float) -> None:
        if now < self._next_beat:
            return
        self._next_beat = now + self._guard.beat_sec
        self._preparation.stop_overdue()
        if not self._guard.beat():
            log.error("this launcher did not run for %.1f s: its runs are ended", self._guard.limit_sec)
            self._cut_all("the launcher's process was frozen, or its guard was killed", kill=True)
            self._guard.renew()
            self._runners.dispatch()
            self._preparers.dispatch()
            self._send().doubt()

    def _watch_clock(self, now: float) -> None:
        for job_id in [i for i, due in self._grace_over.items() if now >= due]:
            del self._grace_over[job_id]
            self._executor.end(job_id, kill=True)
        if self._stopping is not None:
            if self._kill_at is not None and now >= self._kill_at:
                self._executor.end_all(kill=True)
                self._kill_at = now + 1.0
        elif now >= self._limits.end_at:
            self.stop("the wall time is over")
        elif self._draining and self._is_idle():
            self.stop("drained: the last run has ended")
        elif self._is_idle() and now >= self._busy_at + self._limits.idle_ttl_sec:
            self.stop(f"nothing to do for {self._limits.idle_ttl_sec:g} s")

    def _is_idle(self) -> bool:
        return not (self._running or self._waiting or self._preparing)

    def _start_what_fits(self, now: float) -> None:
        while (chosen := self._waiting.take_next(self._around.room, now)) is not None:
            self._start(chosen)

    def _ask(self, now: float) -> None:
        if self._session_id is None or self._draining:
            return
        view = appetite.View(
            running=len(self._running),
            waiting=len(self._waiting) + len(self._preparing),
            room=self._around.room.count_of(self._like),
            rate=self._pace.rate(now),
            trip_sec=self._trip_sec,
            max_ahead_per_slot=self._limits.prefetch_per_slot,
        )
        self._send().ask(appetite.wanted(view), self._answers)

    def _send(self) -> Reporting:
        assert self._courier is not None, "run() sets it"
        return self._courier

    def _flush(self) -> None:
        if self._updates:
            self._send().report(*self._updates)
            self._updates.clear()

    # ---- news ----

    def _hear(self) -> None:
        for news in self._mailbox.take():
            self._take_in(news)

    def _take_in(self, news: News) -> None:
        match news:
            case Opened(session_id, _):
                self._session_id = session_id
                self._busy_at = time.monotonic()
            case Acquired():
                self._acquired(news)
            case Lost(job_ids, reason):
                self._lose(job_ids, reason)
            case Rejected(sentence):
                self.stop(sentence)
            case Cut(seconds):
                if self._limits.stop_on_cut:
                    self._cut_all(f"the server could not be reached for {seconds:.0f} s", kill=True)
            case Kill(killed, by, tell):
                tell({"jobs": {str(job_id): self.kill(job_id, by) for job_id in killed}})
            case Drain(tell):
                self.drain()
                tell({})

    def _acquired(self, news: Acquired) -> None:
        self._answers += 1
        self._trip_sec = news.trip_sec
        self._preparation.add_apps(news.apps)
        if news.jobs:
            self._busy_at = time.monotonic()
        for job in news.jobs:
            reason = self._around.refuse(job) or self._around.room.never_fits(Need.of_job(job))
            self._preparing[job["id"]] = job
            if reason is not None:
                self._hopeless(job, reason)
            else:
                self._preparation.add(job)
        if self._draining:
            self._give_back_unstarted()

    def _give_back_unstarted(self) -> None:
        unstarted = frozenset(self._preparing) | self._waiting.job_ids()
        if self._forget(unstarted):
            self._send().give_back(unstarted)

    def _forget(self, job_ids: Collection[int]) -> bool:
        """Drops jobs that have not started; whether there were any."""
        found = self._waiting.job_ids() & set(job_ids) | self._preparing.keys() & set(job_ids)
        self._waiting.drop(found)
        for job_id in self._preparing.keys() & found:
            del self._preparing[job_id]
        return bool(found)

    def _lose(self, job_ids: frozenset[int] | None, reason: str) -> None:
        """Kills what is not ours any more, and only then lets the courier go on."""
        log.warning("jobs are lost (%s): %s", reason, "all" if job_ids is None else sorted(job_ids)[:20])
        if job_ids is None:
            self._session_id = None
            self._updates.clear()
        else:
            self._updates = [update for update in self._updates if update.job_id not in job_ids]
        for job_id, run in self._running.items():
            if job_ids is None or job_id in job_ids:
                run.disowned = True
                self._executor.end(job_id, kill=True)
        self._waiting.drop(job_ids)
        for job_id in [i for i in self._preparing if job_ids is None or i in job_ids]:
            del self._preparing[job_id]
        self._send().acknowledge()

    def _cut_all(self, reason: str, *, kill: bool) -> None:
        for job_id, run in self._running.items():
            run.cut = run.cut or reason
            self._executor.end(job_id, kill=kill)

    # ---- jobs ----

    def _prepared(self, job: dict[str, Any], plan: AppPlan, command: Command | None) -> None:
        if self._preparing.pop(job["id"], None) is not job:
            return  # lost in the meantime
        self._like = Need.of_job(job)
        self._waiting.add(Waiting(job, plan, command, self._like, time.monotonic()))

    def _hopeless(self, job: dict[str, Any], sentence: str) -> None:
        if self._preparing.pop(job["id"], None) is job:
            log.info("job %d can't be started: %s", job["id"], sentence)
            self._updates.append(reports.not_startable(job["id"], now_us(), sentence))

    def _start(self, waiting: Waiting) -> None:
        job_id = waiting.job["id"]
        room = self._around.room
        share = room.take(waiting.need)
        workdir = f"{self._around.data_path}/{waiting.job['workdir']}"
        self._running[job_id] = _Running(waiting.job, waiting.need, share, workdir)
        own = self._variables(waiting.job, share)
        try:
            if waiting.command is not None:
                environment = {**self._environment, **own, **waiting.command.environment}
                self._executor.start_command(job_id, waiting.command, workdir, environment)
            else:
                self._executor.start_function(job_id, self._request(waiting, workdir, own))
        except NotStartable as exc:
            del self._running[job_id]
            room.give_back(waiting.need, share)
            self._updates.append(reports.not_startable(job_id, now_us(), str(exc)))

    def _request(self, waiting: Waiting, workdir: str, environment: Mapping[str, str]) -> Request:
        return Request(
            Kind.run,
            waiting.plan.code,
            waiting.job,
            workdir,
            environment,
            self._session_id,
            waiting.plan.interpreter,
            waiting.plan.isolate,
        )

    def _variables(self, job: Mapping[str, Any], share: Share) -> dict[str, str]:
        own = {"BALSAM_JOB_ID": str(job["id"]), "OMP_NUM_THREADS": str(job["threads_per_rank"])}
        if self._around.room.node.gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
        return own

    def _started(self, job_id: int, stamp_us: int) -> None:
        run = self._running[job_id]
        run.started = True
        self._updates.append(reports.started(job_id, stamp_us, run.need, run.share))

    def _ended(self, job_id: int, ending: Ending) -> None:
        run = self._running.pop(job_id)
        self._grace_over.pop(job_id, None)
        self._around.room.give_back(run.need, run.share)
        self._busy_at = time.monotonic()
        self._pace.add(self._busy_at)
        self._count += 1
        if not run.disowned:
            self._updates.extend(self._report_of(job_id, run, ending))

    def _report_of(self, job_id: int, run: _Running, ending: Ending) -> list[Update]:
        if run.killed_by is not None:
            return [reports.killed(job_id, ending.ended_us, run.killed_by, ending if run.started else None)]
        if not run.started and run.cut is not None:
            return []  # never handed to a worker: the end of the session frees it
        if not run.started:
            return [reports.not_startable(job_id, ending.ended_us, ending.error)]
        if run.cut is not None:
            return [reports.cut_short(job_id, ending.ended_us, run.cut)]
        return [reports.ended(job_id, ending, run.workdir, self._limits.error_tail_lines)]
