"""Tokens that were lately found valid, so that not every request asks the database."""

from __future__ import annotations

import threading
import time

from balsam.core.clock import now_us
from balsam.logic.users import digest_of
from balsam.store.notices import Change
from balsam.store.owner import Owner

# Where a revocation is not heard of (another process's, while the connection for notices is cut).
KEEP_SEC = 5.0
MAX_KNOWN = 10_000


class KnownTokens:
    """Forgets all of them as soon as any token of any process is revoked."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[Owner, float]] = {}
        self._lock = threading.Lock()
        self.generation = 0

    def owner(self, token: str) -> Owner | None:
        """Whose it is; None where the database must be asked."""
        owner, until = self._owners.get(digest_of(token), (None, 0.0))
        return owner if time.monotonic() < until else None

    def remember(self, token: str, owner: Owner, expires: int | None, generation: int) -> None:
        """`generation`: that of before the database was asked, or a revocation meanwhile would be missed."""
        left = KEEP_SEC if expires is None else min(KEEP_SEC, (expires - now_us()) / 1e6)
        with self._lock:
            if generation != self.generation:
                return
            if len(self._owners) >= MAX_KNOWN:
                self._owners.clear()
            self._owners[digest_of(token)] = (owner, time.monotonic() + left)

    def committed(self, changes: frozenset[Change]) -> None:
        if any(change.kind == "tokens" for change in changes):
            self.forget()

    def forget(self) -> None:
        with self._lock:
            self.generation += 1
            self._owners.clear()
