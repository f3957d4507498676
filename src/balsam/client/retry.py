"""When a failed request is sent again, and after how long."""

from __future__ import annotations

import random

FIRST_PAUSE_SEC = 0.1
LONGEST_PAUSE_SEC = 5.0
OUTAGE_SEC = 600.0  # how long a user's program waits for a server that is away
OUTAGE_STATUSES = frozenset({502, 503, 504})  # the server, or its database, is away
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})


def pause(attempt: int, jitter: float | None = None) -> float:
    """Seconds to wait after the failed attempt number `attempt` (from 0).

    The first is none: a kept connection that the server has closed in the meantime fails at once, and a
    new one will do.
    """
    if attempt == 0:
        return 0.0
    spread = random.random() if jitter is None else jitter
    return min(LONGEST_PAUSE_SEC, FIRST_PAUSE_SEC * 2.0 ** min(attempt, 16)) * (0.5 + spread / 2)


def is_retried(status: int) -> bool:
    """Whether an answer with this status may differ when asked again."""
    return status in RETRIED_STATUSES


def is_outage(status: int) -> bool:
    """Whether an answer with this status says that the server is away."""
    return status in OUTAGE_STATUSES
