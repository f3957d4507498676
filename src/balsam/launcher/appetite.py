"""How many jobs a launcher asks for: what it can start now, and just enough to hide the next round trip."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam.core.limits import MAX_JOBS_PER_SESSION_ACQUIRE
from balsam.core.resources import node_weight

LEAD_SEC = 1.0  # of work is held ahead, at the present pace
LEAD_TRIPS = 4  # ... or as much as is done during so many acquires
WINDOW_SEC = 5.0


@dataclass(frozen=True, slots=True)
class View:
    """`room`: runs that could start now; `rate`: runs per second; `trip_sec`: of the last acquire.

    `free_nodes`: what is left of all `nodes`. `blocked`: so many of the waiting need more than that.
    """

    running: int
    waiting: int
    room: int
    rate: float
    trip_sec: float
    max_ahead_per_slot: int
    blocked: int = 0
    nodes: int = 1
    free_nodes: float = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many jobs at most, which together take so many nodes at most."""

    jobs: int
    nodes: float = 0.0


NOTHING = Wanted(0)


def wanted(view: View) -> Wanted:
    """What to ask for now.

    Long runs are not held ahead: another launcher may have room for them at once. Short ones are, since
    the next acquire takes longer than they do; and one kind of run that needs more nodes than are free now,
    or it would never get its turn.
    """
    if view.blocked:
        # Smaller ones may use what it leaves idle; what is like it can wait at the server.
        jobs = min(view.room - (view.waiting - view.blocked), MAX_JOBS_PER_SESSION_ACQUIRE)
        return Wanted(jobs, round(view.free_nodes, 3)) if jobs > 0 and view.free_nodes > 0 else NOTHING
    slots = max(1, view.running + view.room)
    ahead = int(view.rate * max(LEAD_SEC, LEAD_TRIPS * view.trip_sec))
    ahead = min(ahead, slots * view.max_ahead_per_slot)
    if view.waiting >= view.room + (ahead + 1) // 2:
        return NOTHING
    jobs = min(view.room + ahead - view.waiting, MAX_JOBS_PER_SESSION_ACQUIRE)
    return Wanted(jobs, round(max(view.nodes, view.nodes * ahead / slots), 3))


def is_dry(jobs: Sequence[Mapping[str, Any]], asked: int, nodes: float) -> bool:
    """Whether the answer says that there are no more such jobs, rather than that the nodes were used up."""
    weights = [node_weight(job["num_nodes"], job["node_packing_count"]) for job in jobs]
    return len(jobs) < asked and sum(weights) + max(weights, default=0.0) <= nodes


class Pace:
    """Runs that ended per second, over the last seconds."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=4096)

    def add(self, now: float) -> None:
        self._ends.append(now)

    def rate(self, now: float) -> float:
        while self._ends and now - self._ends[0] > WINDOW_SEC:
            self._ends.popleft()
        if len(self._ends) < 2:
            return 0.0
        return len(self._ends) / max(0.05, now - self._ends[0])
