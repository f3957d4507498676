"""What a launcher's courier does next, as values: no HTTP and no clock here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

LONGEST_PAUSE_SEC = 2.0


class Step(Enum):
    """One request, or none."""

    open = auto()
    resync = auto()
    beat = auto()
    report = auto()
    acquire = auto()
    fetch_apps = auto()
    close = auto()
    wait = auto()
    end = auto()


@dataclass(frozen=True, slots=True)
class Situation:
    """`*_in_sec`: time until something is due, negative when it is overdue.

    `acknowledged`: what was lost is dead. `in_doubt`: an answer is missing, so the lease may have run out.
    """

    has_session: bool
    acknowledged: bool
    in_doubt: bool
    has_reports: bool
    lacks_apps: bool
    acquiring: bool
    wants_jobs: bool
    poll_in_sec: float | None
    beat_in_sec: float
    finish_in_sec: float | None


def next_step(s: Situation) -> tuple[Step, float | None]:
    """The step, and for `wait` how long at most."""
    finishing = s.finish_in_sec is not None
    if s.finish_in_sec is not None and s.finish_in_sec <= 0:
        return Step.end, None
    if not s.acknowledged:
        # Nothing is sent before what is not ours has been killed.
        return Step.wait, s.finish_in_sec
    if not s.has_session:
        return (Step.end, None) if finishing else (Step.open, None)
    if s.in_doubt:
        return Step.resync, None
    if s.beat_in_sec <= 0:
        return Step.beat, None
    if s.has_reports:
        return Step.report, None
    if finishing:
        return Step.close, None
    if s.lacks_apps:
        return Step.fetch_apps, None
    if s.acquiring or s.wants_jobs:
        return Step.acquire, None
    waits = [s.beat_in_sec] + ([] if s.poll_in_sec is None else [max(0.0, s.poll_in_sec)])
    return Step.wait, min(waits)


def pause_after(failures: int) -> float:
    """Seconds before the next attempt; short, for runs are going on and a server is back in seconds."""
    return float(min(LONGEST_PAUSE_SEC, 0.05 * 2.0 ** min(failures, 10)))
