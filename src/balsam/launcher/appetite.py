"""How many jobs a launcher asks for: what it can start now, and just enough to hide the next round trip."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from balsam.core.limits import MAX_JOBS_PER_SESSION_ACQUIRE

LEAD_SEC = 1.0  # of work is held ahead, at the present pace
LEAD_TRIPS = 4  # ... or as much as is done during so many acquires
WINDOW_SEC = 5.0


@dataclass(frozen=True, slots=True)
class View:
    """`room`: runs that could start now; `rate`: runs per second; `trip_sec`: of the last acquire."""

    running: int
    waiting: int
    room: int
    rate: float
    trip_sec: float
    max_ahead_per_slot: int


def wanted(view: View) -> int:
    """Jobs to ask for now.

    Long runs are never held ahead: another launcher may have room for them at once. Short ones are, since
    the next acquire takes longer than they do.
    """
    slots = max(1, view.running + view.room)
    ahead = int(view.rate * max(LEAD_SEC, LEAD_TRIPS * view.trip_sec))
    ahead = min(ahead, slots * view.max_ahead_per_slot)
    if view.waiting >= view.room + (ahead + 1) // 2:
        return 0
    return min(view.room + ahead - view.waiting, MAX_JOBS_PER_SESSION_ACQUIRE)


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
