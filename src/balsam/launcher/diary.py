"""What a launcher's log says of its jobs: their ids, gathered, so that a thousand starts cost one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from balsam.core.states import JobState
from balsam.runtime.updates import Update

log = logging.getLogger(__name__)

PERIOD_SEC = 1.0


class Diary:
    """Notes the moves of jobs, and writes them at once, but not more often than every PERIOD_SEC."""

    def __init__(self) -> None:
        self._jobs: dict[JobState, list[int]] = {}
        self._written = -math.inf
        self.due = math.inf

    def note(self, updates: Iterable[Update], now: float) -> None:
        """`now`: of `time.monotonic()`."""
        for update in updates:
            self._jobs.setdefault(update.state, []).append(update.job_id)
        if self._jobs:
            self.due = max(now, self._written + PERIOD_SEC)

    def write(self, now: float) -> None:
        """Writes what is due."""
        if now < self.due or not self._jobs:
            return
        for state, job_ids in self._jobs.items():
            log.info("jobs that went to %s: %s", state, job_ids)
        self._jobs.clear()
        self._written, self.due = now, math.inf
