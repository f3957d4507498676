"""What Flux's words mean: states, results, refusals."""

from __future__ import annotations

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import AllocationState

A = AllocationState
STATES = {
    **dict.fromkeys(("DEPEND", "PRIORITY", "SCHED"), A.queued),
    "RUN": A.running,
    "CLEANUP": A.ending,
    "INACTIVE": A.ended,
}
HELD = "it is held: `flux job urgency ID 16` lets it go"
# In what commands say of an allocation that is not there any more.
GONE = ("unknown job id", "job is inactive")
# With these words `flux batch` has surely sent nothing.
DECLINED = ("is not a valid queue", "No such file or directory")


def cause_of(result: str, code: str, kind: str, note: str, ran: bool) -> str:
    """Why it ended; `kind` and `note` of the exception that ended it, empty where there was none."""
    if result == "COMPLETED":
        return "exit 0"
    if result == "TIMEOUT" or kind == "timeout":
        return EndOf.wall_time()
    if result == "CANCELED" or kind == "cancel":
        return EndOf.cancelled(note)
    if result != "FAILED":
        return EndOf.lost(f"Flux tells the result {result!r}")
    if not ran:
        return EndOf.no_start(note or kind)
    if kind:
        return EndOf.exit(f"{kind}: {note}" if note else kind)
    return (
        f"exit {code}" if code.isascii() and code.isdecimal() and code != "0" else EndOf.exit("with an error")
    )
