"""Codes with which the owner of an embedded server lets a browser in, without a password or a secret address.

They are kept in memory: an embedded server is one process, and a code lasts minutes.
"""

from __future__ import annotations

import secrets
import threading
import time

from balsam.logic.login_requests import LETTERS, readable
from balsam.logic.users import digest_of
from balsam.store.owner import Owner

ENTRY_CODE_SEC = 120.0
LENGTH = 10
MAX_OPEN = 100


class EntryCodes:
    """Each serves once, and for `ENTRY_CODE_SEC`."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Owner, float]] = {}
        self._lock = threading.Lock()

    def make(self, owner: Owner) -> str:
        """A code for somebody who has shown who they are."""
        code = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        now = time.monotonic()
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept[1] > now}
            while len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[digest_of(code)] = (owner, now + ENTRY_CODE_SEC)
        return readable(code)

    def take(self, text: str) -> Owner | None:
        """Whose code it is; None where it is none, or not any more."""
        code = "".join(filter(str.isalnum, text)).upper()
        with self._lock:
            owner, until = self._open.pop(digest_of(code), (None, 0.0))
        return owner if time.monotonic() < until else None
