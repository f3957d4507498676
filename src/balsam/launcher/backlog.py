"""Jobs that are ready to start, in the order in which they became so."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.launcher.apps import AppPlan
from balsam.launcher.command import Command
from balsam.launcher.placement import Need, NodeRoom, next_to_start

OVERTAKE_SEC = 30.0  # smaller runs may start before the one that has waited longest, for so long


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A job that is ready; `since`: of `time.monotonic()`. `command` None: the app has a `run()`."""

    job: Mapping[str, Any]
    plan: AppPlan
    command: Command | None
    need: Need
    since: float


class Backlog:
    """Grouped by need: whether a run fits is looked at once for all that need the same."""

    def __init__(self) -> None:
        self._groups: dict[Need, deque[Waiting]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiting: Waiting) -> None:
        self._groups.setdefault(waiting.need, deque()).append(waiting)
        self._count += 1

    def job_ids(self) -> set[int]:
        return {waiting.job["id"] for group in self._groups.values() for waiting in group}

    def take_next(self, room: NodeRoom, now: float) -> Waiting | None:
        """Takes out the first job that fits; after OVERTAKE_SEC nobody passes the one that waits longest."""
        if not self._groups:
            return None
        heads = sorted((group[0] for group in self._groups.values()), key=lambda head: head.since)
        may_overtake = now - heads[0].since < OVERTAKE_SEC
        index = next_to_start([head.need for head in heads], room, may_overtake=may_overtake)
        if index is None:
            return None
        group = self._groups[heads[index].need]
        chosen = group.popleft()
        if not group:
            del self._groups[chosen.need]
        self._count -= 1
        return chosen

    def drop(self, job_ids: Collection[int] | None) -> None:
        """Forgets these jobs; None: all."""
        everything = [waiting for group in self._groups.values() for waiting in group]
        self._groups.clear()
        self._count = 0
        for waiting in everything if job_ids is not None else []:
            if waiting.job["id"] not in (job_ids or ()):
                self.add(waiting)
