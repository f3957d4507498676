"""The heartbeats of a launcher or agent, from threads that nothing holds up.

A shared filesystem that stalls for minutes holds up whoever reads, writes, starts a program or logs. Nothing
here does that, and no lock is taken that one who does may keep: so the lease and the guard stay as they are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from balsam.client.errors import ClientError, NotFoundError
from balsam.client.transport import Client
from balsam.runtime.guard_link import GuardLink, grace_sec, margin_sec

RENEWALS_PER_LEASE = 3  # where the owner's own heartbeats do not come
MOST_WAIT_SEC = 1.0
OVER_SEC = 5.0  # within which an owner that works hears itself that its session is over


@dataclass(frozen=True, slots=True)
class _Lease:
    session_id: int
    lease_sec: float


class Pulse:
    """Keeps a lease and tells the guard how long it lasts. All methods may be called from any thread.

    `client`: what to send with; it is asked each time. `until`: of `time.monotonic()`, when it all ends: an
    owner that has not ended by then hangs, and so is not kept alive any longer.
    """

    def __init__(self, client: Callable[[], Client], until: float = float("inf")) -> None:
        self._client = client
        self._until = until
        self._lease: _Lease | None = None
        self._confirmed = time.monotonic()
        self._over_since: float | None = None
        self._stop = threading.Event()
        self._beats: list[Callable[[], object]] = []

    # ---- the owner's side ----

    def follow(self, session_id: int, lease_sec: float, asked_at: float) -> None:
        """There is a session, which was asked for at a time of `time.monotonic()`."""
        self._confirmed, self._over_since = asked_at, None
        self._lease = _Lease(session_id, lease_sec)

    def confirm(self, asked_at: float) -> None:
        """The server has renewed the lease, as was asked at that time."""
        self._confirmed = max(self._confirmed, asked_at)

    def lose(self) -> None:
        """The session is over; unless `forget` or `follow` comes soon, the guard ends what it covered."""
        if self._over_since is None:
            self._over_since = time.monotonic()

    def forget(self) -> None:
        """There is no session any more, and nothing that one covered."""
        self._lease, self._over_since = None, None

    @property
    def confirmed(self) -> float:
        """When the last renewal that was answered was asked for."""
        return self._confirmed

    def start(self, guard: GuardLink, *beats: Callable[[], object]) -> None:
        """`beats` are called as often as the guard is told; they must not be held up either."""
        self._beats = [guard.beat, *beats]
        threading.Thread(target=self._beat, args=(guard.beat_sec,), name="beats", daemon=True).start()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def seconds(self) -> float:
        """How long from now the owner's runs may go on without another word of it: what its guard is told."""
        now = time.monotonic()
        lease, over_since = self._lease, self._over_since
        if over_since is not None and now - over_since > OVER_SEC:
            return 0.0  # somebody else may have them, and the owner does not hear of it
        if lease is None:
            return float("inf")
        left = self._confirmed + lease.lease_sec - margin_sec(lease.lease_sec) - now
        # An owner that lives goes on without the server.
        return max(left, grace_sec(lease.lease_sec))

    # ---- the threads ----

    def _beat(self, beat_sec: float) -> None:
        while not self._stop.wait(beat_sec) and time.monotonic() < self._until:
            for beat in self._beats:
                beat()

    def _renew(self) -> None:
        wait_sec = 0.0
        while not self._stop.wait(wait_sec) and time.monotonic() < self._until:
            lease = self._lease
            if lease is None:
                wait_sec = MOST_WAIT_SEC
                continue
            period = lease.lease_sec / RENEWALS_PER_LEASE
            if time.monotonic() >= self._confirmed + period:
                self._renew_once(lease)
            wait_sec = min(MOST_WAIT_SEC, period / 4)

    def _renew_once(self, lease: _Lease) -> None:
        asked_at = time.monotonic()
        try:
            self._client().put(f"/sessions/{lease.session_id}", {})
        except NotFoundError:
            if self._lease is lease:
                self.lose()
        except ClientError:
            pass  # the owner tells of it as soon as it can
        else:
            self.confirm(asked_at)
