"""What a launcher's courier does next, as values: no HTTP and no clock here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

LONGEST_PAUSE_SEC = 2.0
# A request costs a server as much as some fifty of its items: where reports are many, they wait for company.
GATHER_SEC_PER_ITEM = 0.012
LONGEST_GATHER_SEC = 0.25
FEW = 3  # items, as of one or two runs: these never wait
START_GATHER_SEC = 0.005  # a start waits so long for its end: a short run is told in one request


class Step(Enum):
    """One request, or none."""

    deliver = auto()
    open = auto()
    resync = auto()
    beat = auto()
    report = auto()
    acquire = auto()
    fetch_apps = auto()
    note = auto()
    close = auto()
    wait = auto()
    end = auto()


@dataclass(frozen=True, slots=True)
class Situation:
    """`*_in_sec`: time until something is due, negative when it is overdue.

    `acknowledged`: what was lost is dead. `in_doubt`: an answer is missing, so the lease may have run out.
    `left_in_sec`: until what an earlier session has left can be delivered. `may_acquire`: what is acquired
    can be started, and reported as what it is.
    """

    has_session: bool
    left_in_sec: float | None  # None: there is nothing
    acknowledged: bool
    in_doubt: bool
    reports_in_sec: float | None  # None: there are none
    lacks_apps: bool
    acquiring: bool
    wants_jobs: bool
    may_acquire: bool
    has_note: bool
    just_acquired: bool
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
    if not s.has_session and s.left_in_sec is not None:
        return (Step.deliver, None) if s.left_in_sec <= 0 else (Step.wait, s.left_in_sec)
    if not s.has_session:
        return (Step.end, None) if finishing else (Step.open, None)
    if s.in_doubt:
        return Step.resync, None
    if s.beat_in_sec <= 0:
        return Step.beat, None
    reports_due = s.reports_in_sec is not None and (s.reports_in_sec <= 0 or finishing)
    if finishing:
        return Step.report if reports_due else Step.note if s.has_note else Step.close, None
    if s.lacks_apps:
        return Step.fetch_apps, None
    # Jobs before reports, for slots may be idle; but in turns.
    wants_jobs = s.may_acquire and (s.acquiring or s.wants_jobs)
    if wants_jobs and not (reports_due and s.just_acquired):
        return Step.acquire, None
    if reports_due:
        return Step.report, None
    if s.has_note:
        return Step.note, None
    waits = [s.beat_in_sec, s.poll_in_sec, s.reports_in_sec]
    return Step.wait, min(max(0.0, wait) for wait in waits if wait is not None)


def gather_sec(last_count: int) -> float:
    """Seconds from the start of a report of so many items to the next one, at least."""
    return min(LONGEST_GATHER_SEC, GATHER_SEC_PER_ITEM * last_count) if last_count > FEW else 0.0


def pause_after(failures: int) -> float:
    """Seconds before the next attempt; short, for runs are going on and a server is back in seconds."""
    return float(min(LONGEST_PAUSE_SEC, 0.05 * 2.0 ** min(failures, 10)))
