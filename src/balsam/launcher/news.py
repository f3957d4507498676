"""What the courier and the stream tell the launcher's loop."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Opened:
    """There is a session: jobs may be asked for and started."""

    session_id: int
    lease_sec: float


@dataclass(frozen=True, slots=True)
class Acquired:
    """The answer to the last question for jobs: JSON records of jobs, and of apps that are new or changed."""

    jobs: list[dict[str, Any]]
    apps: list[dict[str, Any]]
    trip_sec: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """The server has answered that there are no jobs to be had."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The server has not answered: whether there is anything, nobody knows."""


@dataclass(frozen=True, slots=True)
class AppsChanged:
    """JSON records of apps that have another version by now: jobs that have not started take that one."""

    apps: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lost:
    """These jobs (None: all) are not the launcher's any more: they are killed and never reported.

    The courier sends nothing until the loop has acknowledged.
    """

    job_ids: frozenset[int] | None
    reason: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The server has not answered for longer than the lease."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SpoolTrouble:
    """Why what runs is not safe on the disk, so that none is to be started; None: it is again."""

    sentence: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server will not give this launcher a session, now or later; the courier has ended."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A user kills these jobs; `tell` gets what became of each."""

    job_ids: tuple[int, ...]
    by: str
    tell: Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Drain:
    """A user wants no more runs started; `tell` is called when that holds."""

    tell: Callable[[dict[str, Any]], None]


News = (
    Opened
    | Acquired
    | AppsChanged
    | Nothing
    | Unanswered
    | Lost
    | Cut
    | SpoolTrouble
    | Rejected
    | Kill
    | Drain
)


class Mailbox:
    """News from the courier's thread; `fileno()` is readable while there are any."""

    def __init__(self) -> None:
        self._news: deque[News] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._bell

    def post(self, news: News) -> None:
        self._news.append(news)
        os.eventfd_write(self._bell, 1)

    def take(self) -> Iterator[News]:
        """All that is there; call it when `fileno()` is readable."""
        os.eventfd_read(self._bell)
        while self._news:
            yield self._news.popleft()

    def wait(self, timeout_sec: float) -> bool:
        """Whether there are news, after `timeout_sec` at most."""
        return bool(select.select([self._bell], [], [], timeout_sec)[0])
