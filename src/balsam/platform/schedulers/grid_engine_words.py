"""What Grid Engine's words mean: states, codes of failures, refusals."""

from __future__ import annotations

import re

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import AllocationState

A = AllocationState
LETTERS = frozenset("qwhEtrRsSTd")  # a state is a set of these
HELD = "it is held: `qrls ID` lets it go"
ERROR = "it is in error and waits until somebody lets it go (`qmod -cj ID`)"

WALL_TIME, REQUEUED, KILLED = 37, 25, 100
SIGNALLED = 128  # above it: the number of a signal
_CODE = re.compile(r"(\d+)\s*(?::\s*(.*?))?\s*", re.ASCII)

REFUSED = "Unable to run job"
# In what qsub says beside these words, where nothing was taken and another time it may be.
PASSING = ("unable to contact qmaster", "Connection refused", "jobs are allowed per user")
UNCERTAIN = ("timeout", "timed out", "got read error")
GONE = "does not exist"
NOT_FOUND = re.compile(r"error: job (?:id|name) \S+ not found")


def state_of(letters: str) -> AllocationState:
    """Of `qw`, `hqw`, `Eqw`, `r`, `Rr`, `Rq`, `dr` and the like."""
    if not letters or not LETTERS.issuperset(letters):
        return A.unknown
    if "d" in letters:
        return A.ending
    if set(letters) & {"q", "E"}:
        return A.queued
    return A.running if set(letters) & {"r", "t", "s", "S", "T", "R"} else A.unknown


def cause_of(failed: str, status: str, ran: bool) -> str:
    """Of the values of `failed` and `exit_status` in accounting."""
    match = _CODE.fullmatch(failed)
    code, told = (int(match[1]), match[2] or "") if match else (-1, failed)
    if code == WALL_TIME:
        return EndOf.wall_time()
    if code == REQUEUED:
        return EndOf.requeued()
    if code not in (0, KILLED):
        return EndOf.no_start(told) if not ran else EndOf.exit(told or "with an error")
    number = re.match(r"\d+", status)
    if number is None:
        return EndOf.exit(told or "and nobody tells how")
    value = int(number[0])
    return f"{EndOf.signal} {value - SIGNALLED}" if value > SIGNALLED else f"exit {value}"
