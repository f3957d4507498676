"""The housekeeping thread: ends leases that ran out, forgets old idempotency keys and tokens."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from balsam.core.clock import now_us
from balsam.core.limits import IDEMPOTENCY_TTL_SEC
from balsam.logic.sessions import Lease, expire, overdue
from balsam.server.context import Server
from balsam.store import deliveries, idempotency, login_attempts, login_requests, logins, messages, users

log = logging.getLogger(__name__)
FORGET_EVERY_SEC = 600.0
FORGET_LATER_US = 3600 * 1_000_000  # whoever waited too long is told that for an hour
DELIVERIES_US = 7 * 86_400 * 1_000_000  # much longer than any of them is on its way


class Sweeper:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._forgot = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        settings = self._server.settings
        period = min(5.0, settings.lease_sec / 4)
        turned = now_us()
        while not self._stop.wait(period):
            late_us, turned = now_us() - turned - int(period * 1e6), now_us()
            if late_us > max(1.0, period) * 1e6:
                # The process or its machine stood still: nobody could renew a lease meanwhile.
                log.warning("the server stood still for %.0f s; leases count from now", late_us / 1e6)
                self._server.up_since = now_us()
            try:
                self._once(Lease(settings.lease_sec, settings.vouched_lease_sec))
                self._server.metrics.swept()
            except Exception:
                # The database was away: nobody could renew a lease meanwhile, so none has aged.
                log.exception("the sweep failed; leases count from now")
                self._server.up_since = now_us()

    def _once(self, lease: Lease) -> None:
        for session in overdue(self._server.db, lease, self._server.up_since):
            self._expire(session)
        self._forget()

    def _expire(self, session: dict[str, Any]) -> None:
        try:
            if expire(self._server.db, session):
                log.warning(
                    "session %d had no heartbeat for its lease: ended, its jobs are free", session["id"]
                )
        except (DBAPIError, PoolTimeout):
            raise
        except Exception:  # of this session alone: the leases of all others still run out
            log.exception("session %d could not be ended", session["id"])

    def _forget(self) -> None:
        if time.monotonic() - self._forgot > FORGET_EVERY_SEC:
            self._forgot = time.monotonic()
            with self._server.db.write() as tx:
                idempotency.forget(tx.conn, now_us() - IDEMPOTENCY_TTL_SEC * 1_000_000)
                users.drop_expired_tokens(tx.conn, now_us())
                logins.drop_expired(tx.conn, now_us())
                login_requests.drop_expired(tx.conn, now_us() - FORGET_LATER_US)
                login_attempts.drop_empty(tx.conn, now_us())
                messages.forget(tx.conn, now_us() - FORGET_LATER_US)
                deliveries.forget(tx.conn, now_us() - DELIVERIES_US)
