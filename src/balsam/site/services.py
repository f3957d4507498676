"""Services of the agent: supervised threads that wait for a bell, and how they take a server outage."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from balsam.client.errors import AuthError, ServerFault, ServerUnreachable
from balsam.client.transport import Client

log = logging.getLogger(__name__)

FIRST_RESTART_SEC = 1.0
LONGEST_RESTART_SEC = 30.0
HEALTHY_SEC = 60.0  # a service that ran so long begins anew with the shortest pause
LONGEST_RETRY_SEC = 5.0
PAGE = 1_000
AFTER_SEC = 0.1

TOKEN_REFUSED = (
    "the server no longer takes this site's token: the token was revoked, or the site was removed from the "
    "server. If `balsam site ls` still shows it, give it a new token with `balsam site token renew`"
)

OUTAGES = (ServerUnreachable, ServerFault)


class Bell:
    """Wakes the one thread that waits for it; a ring during its work is kept for its next wait."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def wait(self, timeout: float) -> bool:
        """Whether it rang within `timeout` seconds."""
        rang = self._event.wait(max(0.0, timeout))
        self._event.clear()
        return rang


class Stop:
    """Tells all services to end, and wakes those that wait."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._bells: list[Bell] = []
        self.reason: str | None = None

    def bell(self) -> Bell:
        """A new bell that also rings at the stop."""
        bell = Bell()
        self._bells.append(bell)
        return bell

    def is_set(self) -> bool:
        return self.event.is_set()

    def set(self, reason: str | None = None) -> None:
        """`reason`: a sentence if the agent can't go on; None for an ordinary stop."""
        self.reason = self.reason or reason
        self.event.set()
        for bell in self._bells:
            bell.ring()


class Service(Protocol):
    """Something that runs until the stop is set; started again if it raises."""

    name: str

    def run(self, stop: Stop) -> None: ...


class Outage:
    """Pauses that grow while the server can't be reached; says once when it began and once when it ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._failures = 0

    def failed(self, exc: Exception) -> float:
        """Seconds to wait before the next attempt."""
        if self._since is None:
            self._since = self._clock()
            log.warning("%s; trying until it answers", exc)
        self._failures += 1
        return retry_pause(self._failures, random.random())

    def answered(self) -> None:
        if self._since is not None:
            log.info("the server answers again, after %.1f s", self._clock() - self._since)
        self._since, self._failures = None, 0


def retry_pause(failures: int, spread: float) -> float:
    """Seconds before the attempt after so many failures; `spread` in 0..1 keeps agents out of step."""
    return min(LONGEST_RETRY_SEC, 0.25 * 2.0 ** min(failures, 10)) * (0.5 + spread / 2)


def restart_pause(crashes: int) -> float:
    """Seconds before a service that crashed so many times in a row is started again."""
    return min(LONGEST_RESTART_SEC, FIRST_RESTART_SEC * 2.0 ** min(crashes - 1, 10))


def all_records(client: Client, path: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every record that a query finds, page by page."""
    records: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = client.get(path, {**query, "count": "no", "limit": PAGE, "after": after})
        records += page["results"]
        after = page.get("next")
        if after is None:
            return records


def supervise(service: Service, stop: Stop, after: threading.Event | None = None) -> threading.Thread:
    """Runs a service in a thread of its own until the stop; `after`: from when this is set."""
    thread = threading.Thread(target=_keep_up, args=(service, stop, after), name=service.name, daemon=True)
    thread.start()
    return thread


def _keep_up(service: Service, stop: Stop, after: threading.Event | None) -> None:
    crashes = 0
    while after is not None and not stop.is_set() and not after.wait(AFTER_SEC):
        pass
    while not stop.is_set():
        started = time.monotonic()
        try:
            service.run(stop)
        except AuthError:
            stop.set(TOKEN_REFUSED)
        except Exception:  # the top of a service's thread
            healthy = time.monotonic() - started > HEALTHY_SEC
            crashes = 1 if healthy else crashes + 1
            pause = restart_pause(crashes)
            log.exception("%s crashed; it starts again in %g s", service.name, pause)
            stop.event.wait(pause)
