"""The runs that are going on: how each is ended before its time, and what is reported of it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from signal import Signals

from balsam.launcher import reports
from balsam.launcher.placement import Need, Share
from balsam.launcher.reports import Ending
from balsam.runtime.updates import Update

log = logging.getLogger(__name__)

MOST_OUTSIDERS = 2  # a run() may as well kill itself: the third time it is taken for its own doing
TERM_GRACE_SEC = 5.0  # between SIGTERM and SIGKILL


@dataclass(slots=True, eq=False)
class Run:
    """One run, from its handing over to an executor until its end."""

    need: Need
    share: Share
    workdir: str
    app_version: int | None = None
    is_function: bool = False  # what starts it is a worker, which may not be able to begin
    started: bool = False  # its start has been reported
    cut: str | None = None  # why it is being ended before its time
    may_be_whole: bool = False  # cut by somebody who could not know whether it had returned already
    killed_by: str | None = None  # who wanted it ended
    disowned: bool = False  # somebody else's by now: not reported

    @property
    def never_started(self) -> bool:
        """Cut before a worker had it: it goes back, at the latest with the session's end."""
        return not self.started and self.cut is not None and self.killed_by is None


class Runs:
    """By job. `signal`: reaches a run's processes; errors carry the last `tail_lines` of its output."""

    def __init__(self, signal: Callable[[int, Signals], None], tail_lines: int) -> None:
        self._signal = signal
        self._tail_lines = tail_lines
        self._runs: dict[int, Run] = {}
        self._outsiders: Counter[int] = Counter()
        self._grace_over: dict[int, float] = {}  # when killed runs that go on get SIGKILL

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, job_id: int, run: Run) -> None:
        self._runs[job_id] = run

    def pop(self, job_id: int) -> Run:
        """It is over, or has never begun."""
        self._grace_over.pop(job_id, None)
        return self._runs.pop(job_id)

    def started(self, job_id: int, stamp_us: int) -> tuple[Run, Update]:
        """The run, and the report of its start."""
        run = self._runs[job_id]
        run.started = True
        return run, reports.started(job_id, stamp_us, run.need, run.share, run.app_version)

    def is_cut(self, job_id: int) -> bool:
        """Whether this launcher, its guard or a user is ending it, or it has not even begun."""
        run = self._runs[job_id]
        return bool(run.cut or run.killed_by or run.disowned) or not run.started

    def report_of(self, job_id: int, run: Run, ending: Ending) -> list[Update]:
        """What is to be told of a run's end."""
        if run.disowned or run.never_started:
            return []
        if run.killed_by is not None:
            return [reports.killed(job_id, ending.ended_us, run.killed_by, ending if run.started else None)]
        if not run.started:
            return [reports.not_startable(job_id, ending.ended_us, ending.error)]
        is_whole = run.may_be_whole and ending.returncode == 0 and ending.payload is not None
        if run.cut is not None and not is_whole:
            return [reports.cut_short(job_id, ending.ended_us, run.cut)]
        if ending.outside and self._outsiders[job_id] < MOST_OUTSIDERS:
            self._outsiders[job_id] += 1
            return [reports.cut_short(job_id, ending.ended_us, ending.error)]
        return [reports.ended(job_id, ending, run.workdir, self._tail_lines)]

    # ---- before their time ----

    def kill(self, job_id: int, by: str) -> bool:
        """SIGTERM now, SIGKILL after a grace, for good; whether there is such a run."""
        run = self._runs.get(job_id)
        if run is not None and run.killed_by is None:
            log.info("job %d is killed by %s", job_id, by)
            run.killed_by = by
            self._signal(job_id, Signals.SIGTERM)
            self._grace_over[job_id] = time.monotonic() + TERM_GRACE_SEC
        return run is not None

    def kill_overdue(self, now: float) -> None:
        """Killed runs whose grace is over get SIGKILL."""
        for job_id in [job_id for job_id, due in self._grace_over.items() if now >= due]:
            del self._grace_over[job_id]
            self._signal(job_id, Signals.SIGKILL)

    @property
    def due(self) -> Collection[float]:
        """When `kill_overdue` has something to do."""
        return self._grace_over.values()

    def cut(self, job_ids: Collection[int], reason: str) -> None:
        """The guard has killed these; what has returned before that stands."""
        for job_id in job_ids:
            run = self._runs[job_id]
            run.cut, run.may_be_whole = run.cut or reason, True
            self._signal(job_id, Signals.SIGKILL)

    def cut_all(self, reason: str, number: Signals) -> None:
        for run in self._runs.values():
            run.cut = run.cut or reason
        self.signal_all(number)

    def signal_all(self, number: Signals) -> None:
        for job_id in list(self._runs):
            self._signal(job_id, number)

    def disown(self, job_ids: Collection[int] | None) -> None:
        """They are somebody else's now: killed, and not reported. None: all."""
        for job_id, run in self._runs.items():
            if job_ids is None or job_id in job_ids:
                run.disowned = True
                self._signal(job_id, Signals.SIGKILL)

    def warn_node(self, name: str, reason: str) -> None:
        """Somebody else is ending its runs: what ends there is cut, but for what has returned."""
        for run in self._runs.values():
            if name in run.share.nodes:
                run.cut, run.may_be_whole = run.cut or f"node {name} is being ended: {reason}", True

    def lose_node(self, name: str, reason: str) -> None:
        """Its runs are cut, as the executor is to tell of each."""
        for run in self._runs.values():
            if name in run.share.nodes:
                run.cut = run.cut or f"node {name} was lost: {reason}"
                run.share = Share(())  # a node of that name that comes back is another one
