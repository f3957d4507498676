"""Why a launcher ends, and when it has nothing to do. Times are of `time.monotonic()`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from balsam.core.endings import EndCode

ASK_AGAIN_SEC = 1.0


@dataclass(frozen=True, slots=True)
class LauncherEnd:
    """As it is told to the server. `cut`: runs that are ended before their time."""

    code: EndCode
    sentence: str
    cut: int = 0


class Idleness:
    """Counts the time in which the server answers that there is nothing; one that is away says no such thing.

    It is over only with an answer after `ttl_sec`, for which somebody may have to ask.
    """

    def __init__(self, ttl_sec: float) -> None:
        self._ttl_sec = ttl_sec
        self._since: float | None = None
        self._answered = 0.0
        self._asked = -math.inf

    def reset(self) -> None:
        """There was something to do, or no answer."""
        self._since = None

    def nothing(self, now: float) -> None:
        """The server has answered so."""
        self._since = now if self._since is None else self._since
        self._answered = now

    @property
    def is_over(self) -> bool:
        return self._since is not None and self._answered >= self._since + self._ttl_sec

    @property
    def ask_at(self) -> float:
        """When the server is to be asked whether there is still nothing."""
        if self.is_over:
            return math.inf
        due = -math.inf if self._since is None else self._since + self._ttl_sec
        return max(due, self._asked + ASK_AGAIN_SEC)

    def is_to_ask(self, now: float) -> bool:
        """Whether that is now; once."""
        if now < self.ask_at:
            return False
        self._asked = now
        return True
