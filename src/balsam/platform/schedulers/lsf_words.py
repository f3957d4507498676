"""What LSF's words mean: states, reasons of ends, refusals."""

from __future__ import annotations

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import AllocationState

A = AllocationState
# UNKWN: its host is out of reach; it may come back, and go on. ZOMBI is in no table: nobody knows what it is.
STATES = {
    **dict.fromkeys(("PEND", "PROV", "PSUSP", "WAIT"), A.queued),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), A.running),
    **dict.fromkeys(("DONE", "EXIT"), A.ended),
}
HELD = "it is held: `bresume ID` lets it go"
# In `exit_reason`, the first that fits.
ENDS = {
    "TERM_RUNLIMIT": EndOf.wall_time,
    "TERM_MEMLIMIT": EndOf.memory,
    "TERM_PREEMPT": EndOf.preempted,
    "TERM_OWNER": EndOf.cancelled,
    "TERM_ADMIN": EndOf.cancelled,
}
BY = {"TERM_OWNER": "by its owner", "TERM_ADMIN": "by an administrator"}

NOT_SUBMITTED = "Job not submitted"  # with these words bsub has surely not been heard
# In what it says beside them, where that passes.
PASSING = ("limit", "threshold", "time out", "timed out", "not respond", "is down", "Cannot connect")
NO_JOBS = ("No unfinished job found", "No job found")
GONE = ("is not found", "Job has already finished", "No matching job found")


def cause_of(state: str, code: str, reason: str) -> str:
    if state == "DONE":
        return "exit 0"
    for word, end in ENDS.items():
        if word in reason:
            return end(BY.get(word, ""))
    known = code.isascii() and code.isdecimal() and code != "0"
    told = reason.strip() if reason.strip() not in ("", "-") else ""
    return f"exit {code}" if known and not told else EndOf.exit(told or "with an error")
