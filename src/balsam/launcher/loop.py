"""A launcher's one loop: takes in what happened, starts what fits, asks for more, watches the clock.

It sleeps until a run ends, the courier has news or something is due; never for a fixed period.
"""

from __future__ import annotations

import logging
import math
import selectors
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from signal import Signals
from typing import Any

from balsam.core.clock import now_us
from balsam.core.endings import EndCode
from balsam.launcher import appetite, reports
from balsam.launcher.apps import AppPlan
from balsam.launcher.backlog import Backlog, Waiting, order_key
from balsam.launcher.command import Command
from balsam.launcher.diary import Diary
from balsam.launcher.doubtful_ends import DoubtfulEnd, DoubtfulEnds
from balsam.launcher.executor import Callbacks, NodeShort, NotStartable, Start, unforeseen
from balsam.launcher.last_word import Idleness, LauncherEnd
from balsam.launcher.news import (
    Acquired,
    AppsChanged,
    Cut,
    Drain,
    Kill,
    Lost,
    Mailbox,
    News,
    Nothing,
    Opened,
    Rejected,
    SpoolTrouble,
    Unanswered,
)
from balsam.launcher.placement import SLACK, Need, Share
from balsam.launcher.preparation import Preparation
from balsam.launcher.reports import Ending
from balsam.launcher.room import MOST_REFUSALS, Room
from balsam.launcher.runs import TERM_GRACE_SEC, Run, Runs
from balsam.launcher.setting import Limits, Reporting, Surroundings
from balsam.platform.mpi.gpus import VARIABLE_OF
from balsam.platform.nodes import Node
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.requests import Kind, Request
from balsam.runtime.updates import Update
from balsam.runtime.worker_pool import WorkerPool, WorkerSetting

log = logging.getLogger(__name__)

ASK_SEC = 0.05  # between questions for more jobs, while there are some


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
        self._preparers = WorkerPool(1, setting, guard)
        self._selector.register(self._preparers, selectors.EVENT_READ, self._preparers.dispatch)
        self._whole = Room(around.allocation)  # nodes that are still to join included
        self._room = Room(around.nodes)
        callbacks = Callbacks(
            self._started, self._ended, self._refused, self._joined, self._node_lost, self._node_warned
        )
        self._executor = around.make_executor(self._selector, setting, guard, callbacks)
        self._preparation = Preparation(
            self._preparers,
            around.data_path,
            self._prepared,
            self._hopeless,
            self._not_prepared,
            self._about,
            preambles_of_functions=around.is_mpi,
        )
        self._courier: Reporting | None = None
        self._session_id: int | None = None
        self._preparing: dict[int, dict[str, Any]] = {}
        self._waiting = Backlog()
        self._runs = Runs(self._executor.signal, limits.error_tail_lines)
        self._doubtful = DoubtfulEnds(in_allocation=around.in_allocation)
        self._updates: list[Update] = []
        self._diary = Diary()
        self._pace = appetite.Pace()
        self._like: Need | None = None  # of the job that was acquired last
        self._trip_sec = 0.0
        self._answers = 0
        self._ask_at = 0.0  # not before, while there are unstarted jobs
        self._is_to_ask = False  # by then
        self._count = 0
        self._idleness = Idleness(limits.idle_ttl_sec)
        self._next_beat = 0.0
        self._stopping: str | None = None
        self._spool_trouble: str | None = None
        self._refusals: Counter[int] = Counter()  # by job: starts for which its node was too poor
        self._why_failing: dict[str, str] = {}  # by node
        self._left_out: str | None = None  # the last node is, and why
        self._trouble = ""  # as it was told
        self._kill_at: float | None = None
        self._warned = False
        self._draining = False
        self._is_about_job = False

    # ---- called from outside ----

    def watch_signals(self, fd: int, received: Callable[[], None]) -> None:
        """Calls `received` when a signal's wakeup byte arrives on `fd`."""
        self._selector.register(fd, selectors.EVENT_READ, received)

    def stop(self, code: EndCode, reason: str) -> None:
        """Ends all runs: SIGTERM now, SIGKILL after a grace; nothing new is started."""
        if self._stopping is None:
            count = len(self._runs)
            log.info("stopping: %s; %d runs are ended, %d jobs had not started", reason, count, self._held)
            self._stopping = reason
            self._runs.cut_all(reason, Signals.SIGTERM)
            self._judge(self._doubtful.take_of(None))
            self._send().note_ending(LauncherEnd(code, reason, count))
            self._kill_at = time.monotonic() + TERM_GRACE_SEC

    def kill(self, job_id: int, by: str) -> str:
        """Ends a run as `stop` does, for good, or gives up a job that has not started; what it does."""
        if self._runs.kill(job_id, by):
            return "ending"
        if not self._forget({job_id}):
            return "not here"
        self._updates.append(reports.killed(job_id, now_us(), by, None))
        return "given up"

    def drain(self) -> None:
        """Starts nothing more, gives back what has not started, and ends when the last run has."""
        if not self._draining:
            log.info("draining: %d runs go on, nothing more is started", len(self._runs))
            self._draining = True
            self._give_back_unstarted()

    def beat(self) -> None:
        """From a thread of its own: tells those on other nodes that this launcher lives."""
        self._executor.beat()

    def run(self, courier: Reporting) -> None:
        """Until there is nothing left to wait for; every run has ended and is reported by then."""
        self._courier = courier
        try:
            while not (self._stopping is not None and not len(self._executor)):
                ready = self._selector.select(self._timeout())
                # First: ends that the guard has caused, while this process was frozen, are no errors.
                self._look_after_guard()
                for key, _ in ready:
                    key.data()
                self._turn()
            self._flush()
        finally:
            self._executor.close()
            self._preparers.close()
            self._diary.write(math.inf)
            log.info("%d runs ended", self._count)

    # ---- one turn ----

    def _turn(self) -> None:
        now = time.monotonic()
        self._is_to_ask = False
        self._keep_up(now)
        self._watch_clock(now)
        if self._stopping is None:
            self._start_what_fits(now)
            self._ask(now)
        self._flush()

    def _timeout(self) -> float:
        now = time.monotonic()
        due = [self._next_beat, self._limits.end_at if self._stopping is None else self._kill_at or now]
        due += self._runs.due
        due += self._doubtful.due
        due.append(self._diary.due)
        if self._is_idle():
            due.append(self._idleness.ask_at)
        if self._limits.warn_at is not None and not self._warned:
            due.append(self._limits.warn_at)
        if self._is_to_ask:
            due.append(self._ask_at)
        return max(0.0, min(due) - now)

    def _look_after_guard(self) -> None:
        """Its beats come from another thread; here is what follows when one came too late."""
        if self._guard.beat():
            return
        fate = self._guard.renew()
        if fate.acted:
            log.error("this launcher was frozen until its lease was nearly over: its runs were ended")
            killed = self._executor.jobs_of(fate.killed)
            self._runs.cut(killed, "the launcher's process was frozen until its lease was nearly over")
            self._preparation.resume()
            self._send().doubt()
        elif not self._guard.is_missing:
            log.warning(
                "the guard process was killed from outside; another one takes over, and all runs go on"
            )
        self._executor.resume(after_kill=fate.acted)
        self._preparers.dispatch()

    def _keep_up(self, now: float) -> None:
        """What is due every now and then, after all that has come was read."""
        if now < self._next_beat:
            return
        self._next_beat = now + self._guard.beat_sec
        self._preparation.stop_overdue()
        self._room.wake(now)
        self._executor.keep_up()
        self._tell_trouble()

    def _watch_clock(self, now: float) -> None:
        self._runs.kill_overdue(now)
        self._judge(self._doubtful.take(now))
        if self._stopping is not None:
            if self._kill_at is not None and now >= self._kill_at:
                self._runs.signal_all(Signals.SIGKILL)
                self._kill_at = now + 1.0
        elif now >= self._limits.end_at:
            self.stop(EndCode.wall_time, "the wall time is over")
        elif self._limits.warn_at is not None and not self._warned and now >= self._limits.warn_at:
            self._warned = True
            log.info("%d runs get %s", len(self._runs), self._limits.warning.name)
            self._runs.signal_all(self._limits.warning)
        elif self._left_out and not self._runs:
            self.stop(EndCode.no_node, self._left_out)
        elif self._draining and self._is_idle():
            self.stop(EndCode.drained, "it was drained, and its last run has ended")
        elif self._is_idle() and self._idleness.is_over:
            self.stop(EndCode.idle, f"it had nothing to do for {self._limits.idle_ttl_sec:g} s")
        elif self._is_idle() and self._idleness.is_to_ask(now):
            self._send().hint()

    @property
    def _held(self) -> int:
        """How many jobs have not started."""
        return len(self._waiting) + len(self._preparing)

    def _has_unstarted(self) -> bool:
        return bool(self._waiting or self._preparing)

    def _is_idle(self) -> bool:
        # Who has no node yet waits for its workers.
        return not (self._runs or self._has_unstarted()) and len(self._room) > 0

    def _may_start(self) -> bool:
        full = self._limits.max_runs is not None and len(self._runs) >= self._limits.max_runs
        return not full and self._spool_trouble is None and not self._guard.is_missing

    def _start_what_fits(self, now: float) -> None:
        late: list[int] = []
        while self._may_start():
            chosen = self._waiting.take_next(self._room, now)
            if chosen is None:
                break
            waiting, share = chosen
            if waiting.until(now) > self._limits.end_at and waiting.job["wall_time_min"]:
                self._room.give_back(waiting.need, share)
                late.append(waiting.job["id"])
            else:
                self._start(waiting, share)
        if late:
            log.info("jobs are given back, for their wall time does not fit any more: %s", late)
            self._send().give_back(late)

    def _ask(self, now: float) -> None:
        if self._session_id is None or self._draining or not len(self._room):
            return
        self._is_to_ask = now < self._ask_at and self._has_unstarted()
        if self._is_to_ask:
            return
        self._ask_at = now + ASK_SEC
        free_nodes = self._room.free_nodes(self._waiting.kept)
        view = appetite.View(
            running=len(self._runs),
            waiting=len(self._waiting) + len(self._preparing),
            blocked=self._waiting.count_heavier(free_nodes) if free_nodes > SLACK else 0,
            room=self._room_for_more(),
            rate=self._pace.rate(now),
            trip_sec=self._trip_sec,
            max_ahead_per_slot=self._limits.prefetch_per_slot,
            nodes=len(self._room),
            free_nodes=free_nodes,
        )
        self._send().ask(appetite.wanted(view), self._answers)

    def _room_for_more(self) -> int:
        """Runs like the last one that could start; where none of them fits, smaller ones."""
        if self._like is None:
            return self._room.cores
        return self._room.count_of(self._like) or self._room.places

    def _send(self) -> Reporting:
        assert self._courier is not None, "run() sets it"
        return self._courier

    def _flush(self) -> None:
        self._executor.flush()
        now = time.monotonic()
        if self._updates:
            self._diary.note(self._updates, now)
            self._send().report(*self._updates)
            self._updates.clear()
        if self._is_about_job:
            self._is_about_job = False
            self._send().note_job(0)
        self._diary.write(now)

    def _about(self, job_id: int) -> None:
        """Before this job is touched: should this process die of it, the server is told of which one."""
        self._is_about_job = True
        self._send().note_job(job_id)

    # ---- news ----

    def _hear(self) -> None:
        for news in self._mailbox.take():
            self._take_in(news)

    def _take_in(self, news: News) -> None:
        match news:
            case Opened(session_id, _):
                self._session_id = session_id
                self._idleness.reset()
            case Nothing():
                if self._is_idle():
                    self._idleness.nothing(time.monotonic())
            case Unanswered():
                self._idleness.reset()
            case Acquired():
                self._acquired(news)
            case AppsChanged(records):
                self._take_newer(records)
            case Lost(job_ids, reason):
                self._lose(job_ids, reason)
            case Rejected(sentence):
                self.stop(EndCode.refused, f"the server refused it: {sentence}")
            case SpoolTrouble(told):
                self._spool_trouble = told
            case Cut(seconds):
                if self._limits.stop_on_cut:
                    self._runs.cut_all(
                        f"the server could not be reached for {seconds:.0f} s", Signals.SIGKILL
                    )
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
            self._idleness.reset()
        for job in news.jobs:
            self._preparing[job["id"]] = job
            self._about(job["id"])
            try:
                self._take_on(job)
            except Exception as exc:  # whatever one job holds, the others go on
                self._hopeless(job, unforeseen(exc, "prepared"))
        if self._draining:
            self._give_back_unstarted()

    def _take_on(self, job: dict[str, Any]) -> None:
        reason = self._whole.never_fits(self._need_of(job))
        if reason is not None:
            self._hopeless(job, reason)
        else:
            self._preparation.add(job)

    def _take_newer(self, records: list[dict[str, Any]]) -> None:
        """Jobs that wait for their start are prepared anew, with the code that is registered now."""
        self._preparation.add_apps(records)
        changed = {record["id"] for record in records}
        outdated = [dict(one.job) for one in self._waiting if one.job["app_id"] in changed]
        self._waiting.drop({job["id"] for job in outdated})
        log.info("apps have another version: %s; %d jobs take it", sorted(changed), len(outdated))
        for job in outdated:
            self._preparing[job["id"]] = job
            self._preparation.add(job)

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
        self._runs.disown(job_ids)
        self._judge(self._doubtful.take_of(job_ids))
        self._waiting.drop(job_ids)
        for job_id in [i for i in self._preparing if job_ids is None or i in job_ids]:
            del self._preparing[job_id]
        self._send().acknowledge()

    # ---- nodes ----

    def _joined(self, node: Node) -> None:
        self._room.add(node)
        self._idleness.reset()

    def _node_lost(self, name: str, reason: str) -> None:
        """Its runs are over, as the executor tells of each; the others go on."""
        log.error("node %s is lost: %s", name, reason)
        self._room.lose(name)
        self._runs.lose_node(name, reason)
        if not len(self._room) and not self._room.has_resting and not self._executor.expects_nodes:
            self.stop(EndCode.no_node, f"no node is left to run on; the last one was {name}: {reason}")

    def _node_warned(self, name: str, reason: str) -> None:
        log.error("node %s is being ended: %s; nothing more is started there", name, reason)
        self._room.lose(name)
        self._runs.warn_node(name, reason)

    # ---- jobs ----

    def _prepared(self, job: dict[str, Any], plan: AppPlan, command: Command | None) -> None:
        if self._preparing.pop(job["id"], None) is not job:
            return  # lost in the meantime
        if not self._preparation.is_newest(plan):
            self._preparing[job["id"]] = job
            self._preparation.add(job)
            return
        need = self._like = self._need_of(job)
        # What could not start goes behind the others: one job with a bad workdir must not keep them.
        key = (self._refusals[job["id"]], *order_key(job, long_first=self._limits.long_first))
        self._waiting.add(Waiting(job, plan, command, need, key))

    def _need_of(self, job: Mapping[str, Any]) -> Need:
        return Need.of_job(job, may_share_nodes=self._around.may_share_nodes)

    def _hopeless(self, job: dict[str, Any], sentence: str) -> None:
        if self._preparing.pop(job["id"], None) is job:
            log.info("job %d can't be started: %s", job["id"], sentence)
            self._updates.append(reports.not_startable(job["id"], now_us(), sentence))

    def _start(self, waiting: Waiting, share: Share) -> None:
        job_id = waiting.job["id"]
        workdir = f"{self._around.data_path}/{waiting.job['workdir']}"
        is_function = waiting.plan.template is None
        version = waiting.plan.code.version
        self._about(job_id)
        self._runs.begin(job_id, Run(waiting.need, share, workdir, version, is_function))
        try:
            own = self._variables(waiting.job, share)
            request = self._request(waiting, workdir, own) if is_function else None
            self._executor.start(Start(waiting.job, workdir, own, share.seats, waiting.command, request))
        except NotStartable as exc:
            self._not_started(job_id, str(exc))
        except NodeShort as exc:
            self._refused(job_id, str(exc))
        except Exception as exc:  # whatever one job holds, the others go on
            self._not_started(job_id, unforeseen(exc, "started"))

    def _not_started(self, job_id: int, sentence: str) -> None:
        run = self._runs.pop(job_id)
        self._room.give_back(run.need, run.share)
        self._updates.append(reports.not_startable(job_id, now_us(), sentence))

    def _refused(self, job_id: int, reason: str) -> None:
        """Its node could not start it, which is no fault of the job's: it goes back, and the node rests."""
        run = self._runs.pop(job_id)
        self._room.give_back(run.need, run.share)
        self._refusals[job_id] += 1
        self._rest(run.share.nodes, job_id, reason)
        if run.killed_by is not None:
            self._updates.append(reports.killed(job_id, now_us(), run.killed_by, None))
        elif run.started and not run.disowned:
            self._updates.append(reports.cut_short(job_id, now_us(), f"it did not begin: {reason}"))
        elif not run.disowned:
            self._send().give_back([job_id])

    def _not_prepared(self, job: dict[str, Any], reason: str) -> None:
        if self._preparing.pop(job["id"], None) is job:
            self._rest([node.name for node in self._room.nodes], job["id"], reason)
            self._send().give_back([job["id"]])

    def _rest(self, names: Sequence[str], job_id: int, reason: str) -> None:
        listed = ", ".join(names) or "the nodes"
        log.warning("job %d goes back: %s; nothing is started on %s for a while", job_id, reason, listed)
        self._room.rest(names, time.monotonic())
        self._why_failing |= {name: self._why_failing.get(name, reason) for name in names}
        for name in self._room.hopeless:
            self._leave_out(name, reason)
        if not len(self._room):
            self._give_back_unstarted()  # others may have nodes that work

    def _leave_out(self, name: str, reason: str) -> None:
        """Nothing is started there any more; what runs there goes on."""
        log.error("node %s is left out after %d failures in a row: %s", name, MOST_REFUSALS, reason)
        self._room.lose(name)
        if not len(self._room) and not self._room.has_resting and not self._executor.expects_nodes:
            self._left_out = f"no node is left that can start anything; the last one was {name}: {reason}"

    def _tell_trouble(self) -> None:
        """What keeps jobs from starting here, for those who ask why theirs wait."""
        failing = self._room.failing
        for name in self._why_failing.keys() - failing:
            del self._why_failing[name]
        told = self._spool_trouble or self._left_out or ""
        if failing and not told:
            reason = self._why_failing.get(failing[0], "")
            told = (
                f"{', '.join(failing[:3])}{' ...' if len(failing) > 3 else ''} can start nothing for the "
                f"moment ({reason}): one job is tried again after growing pauses"
            )
        if told != self._trouble:
            self._trouble = told
            self._send().tell_trouble(told)

    def _request(self, waiting: Waiting, workdir: str, environment: Mapping[str, str]) -> Request:
        return Request(
            Kind.run,
            waiting.plan.code,
            waiting.job,
            workdir,
            {**environment, "PWD": workdir},
            self._session_id,
            waiting.plan.interpreter,
            waiting.plan.isolate,
        )

    def _variables(self, job: Mapping[str, Any], share: Share) -> dict[str, str]:
        own = {"BALSAM_JOB_ID": str(job["id"]), "OMP_NUM_THREADS": str(job["threads_per_rank"])}
        maker = self._room.gpu_maker
        if maker is not None:
            own[VARIABLE_OF[maker]] = ",".join(share.seats[0].gpus)
        return own

    def _started(self, job_id: int, stamp_us: int) -> None:
        run, update = self._runs.started(job_id, stamp_us)
        if not run.is_function:  # a function's worker may be too poor to begin
            self._room.works(run.share.nodes)
        self._updates.append(update)

    def _ended(self, job_id: int, ending: Ending) -> None:
        if self._stopping is None and not self._runs.is_cut(job_id) and self._doubtful.is_one(ending):
            self._doubtful.keep(job_id, ending, time.monotonic())
        else:
            self._conclude(job_id, ending)

    def _judge(self, ends: Sequence[DoubtfulEnd]) -> None:
        """What ended these runs is known by now: the whole allocation or node is ending, or they did."""
        for end in ends:
            self._conclude(end.job_id, end.ending)

    def _conclude(self, job_id: int, ending: Ending) -> None:
        run = self._runs.pop(job_id)
        self._room.give_back(run.need, run.share)
        self._idleness.reset()
        self._refusals.pop(job_id, None)
        if not run.cut and not ending.outside:
            self._room.works(run.share.nodes)
        self._pace.add(time.monotonic())
        self._count += 1
        self._updates.extend(self._runs.report_of(job_id, run, ending))
        if run.never_started and not run.disowned and self._stopping is None:
            self._send().give_back([job_id])
