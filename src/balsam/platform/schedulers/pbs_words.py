"""What the words of PBS mean: states, comments, exit codes, refusals."""

from __future__ import annotations

import re

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import AllocationState

A = AllocationState

# `E` lasts for over a minute where an output can't be copied to its place. `M` was moved to another server,
# which nobody here asks: that is in no table.
STATES = {
    **dict.fromkeys("QHTW", A.queued),
    **dict.fromkeys("RBSU", A.running),
    "E": A.ending,
    **dict.fromkeys("FXC", A.ended),
}

# In comments of what can't start before somebody changes something.
NEVER = ("Can Never Run", "Queue not started")
REASONS = {
    "Queue not started": "its queue starts nothing until an administrator says so",
    "Not enough free nodes available": "the nodes are not free yet",
    "Insufficient amount of resource": "the nodes are not free yet, or not up",
    "Can Never Run": "no node has what it asks for",
    "Job held by": "`qrls ID` lets it go",
}
HELD = {
    "u": "its owner holds it: `qrls ID` lets it go",
    "o": "an operator holds it",
    "s": "the system holds it",
}

WALL_TIME, NODE_FAILURE = -29, -20
SIGNALLED = 256  # above it: the number of a signal

# Exit codes of qsub. 38: a limit of allocations of this user; the others: the server could not be reached.
OVER_LIMIT = 38
AWAY = (162, 255)
# In what commands say before they have sent anything, or when a limit is reached.
PASSING = ("cannot connect to server", "Couldn't connect to cluster", "would exceed")
# The question was sent, and the answer did not come.
UNCERTAIN = (
    "timed out",
    "Connection reset by peer",
    "Broken pipe",
    "End of File",
    "Premature end of message",
)
# In what commands say of an allocation that is not there any more, or is just ending.
GONE = ("Unknown Job Id", "Job has finished", "Request invalid for state of job")
NO_HISTORY = "not configured to maintain job history"

_BY = re.compile(r"terminated by (\S+)")


def in_words(comment: str) -> str:
    """The scheduler's own words, and what they mean; empty where there are none."""
    told = comment.removeprefix("Not Running: ").strip()
    meaning = next((text for words, text in REASONS.items() if words in told), "")
    return f"{told} ({meaning})" if meaning else told


def never_starts(comment: str) -> bool:
    return any(words in comment for words in NEVER)


def cause_of(code: str, comment: str, nodes: str) -> str:
    """Why it ended whose Exit_status is `code`: empty of one that never ran."""
    if by := _BY.search(comment):
        return EndOf.cancelled(f"by {by[1]}")
    if not code.lstrip("-").isdecimal():
        return EndOf.cancelled()  # before it ran
    number = int(code)
    if number == WALL_TIME:
        return EndOf.wall_time()
    if number == NODE_FAILURE:
        return EndOf.node(nodes)
    if number >= SIGNALLED:
        return f"{EndOf.signal} {number - SIGNALLED}"
    return f"exit {number}" if number >= 0 else EndOf.exit(f"PBS tells Exit_status {number}")
