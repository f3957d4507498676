"""The thread that looks at rules and sends messages. Not the sweeper's, whose leases must not wait for them.

It sleeps until the next rule or message is due, and wakes when one is written, by whichever process; where
there are none, it asks the database nothing but every few minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any

from balsam.core.alerts import GIVE_UP_SEC, News
from balsam.core.clock import now_us
from balsam.core.errors import DeliveryFailed
from balsam.logic import alert_looks
from balsam.logic.alert_rules import CHANGED
from balsam.server.context import Server
from balsam.store import alert_rules, deliveries
from balsam.store.deliveries import Due
from balsam.store.notices import Change
from balsam.store.owner import Owner

log = logging.getLogger(__name__)
Row = dict[str, Any]
IDLE_SEC = 300.0  # without rules and messages
MIN_PAUSE_SEC = 0.05
FAILED_SEC = 5.0  # after what nobody foresaw, such as a database that is away
LOOK_SHARE = 0.1  # looking at rules takes no more of the time: where there are many, each gets its turn later
AT_ONCE = 8  # messages on their way together, and
AT_ONCE_OF_ONE = 2  # of one user, whose receivers may be slow
DUE_AT_ONCE = 200
MAX_RETRY_SEC = 3600.0
# After a process was killed while it sent: longer than any sending takes, or two would send the same at once.
CLAIM_SEC = 600.0
STOP_SEC = 3.0


class Alerting:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = False
        self._woken = threading.Event()
        self._look_again = 0.0
        self._thread = threading.Thread(target=self._run, name="alerting", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for receivers that do not answer: their messages are sent by a successor."""
        self._stop = True
        self._woken.set()
        self._thread.join(STOP_SEC)

    def committed(self, changes: frozenset[Change]) -> None:
        if any(change.kind == CHANGED for change in changes):
            self._woken.set()

    def wake(self) -> None:
        """Something may have been written that nobody told of."""
        self._woken.set()

    def _run(self) -> None:
        pause, is_released = 0.0, False
        while not self._stop:
            self._woken.wait(pause)
            self._woken.clear()
            if self._stop:
                return
            try:
                if not is_released:
                    self._release()
                    is_released = True
                pause = self._turn()
            except Exception:
                log.exception("alerts could not be looked at; again in %g s", FAILED_SEC)
                pause = FAILED_SEC

    def _release(self) -> None:
        """On SQLite this process is alone: what an earlier one was sending when it was killed is sent now."""
        if not self._server.db.is_sqlite:
            return
        with self._server.db.glance() as conn:
            waits = deliveries.next_try(conn) is not None
        if waits:
            with self._server.db.write() as tx:
                deliveries.release_all(tx.conn, now_us())

    def _turn(self) -> float:
        """Does what is due; how long then nothing is."""
        with self._server.db.glance() as conn:
            rule, message = alert_rules.next_due(conn), deliveries.next_try(conn)
        now = now_us()
        if rule is not None and rule <= now and time.monotonic() >= self._look_again:
            self._look()
            return 0.0
        if message is not None and message <= now and self._deliver():
            return 0.0
        waits = [moment for moment in (rule, message) if moment is not None]
        pause = (min(waits) - now) / 1e6 if waits else IDLE_SEC
        if rule is not None and rule <= now:
            pause = max(pause, min(self._look_again - time.monotonic(), IDLE_SEC))
            if message is not None:
                pause = min(pause, (message - now) / 1e6)
        return min(max(pause, MIN_PAUSE_SEC), IDLE_SEC)

    def _look(self) -> None:
        began = time.monotonic()
        for rule in alert_looks.claim(self._server.db, self._server.settings.alert_sec):
            try:
                alert_looks.settle(self._server.db, rule, self._server.up_since)
            except Exception:  # of this rule alone: the others still get their turn
                log.exception("alert rule %d could not be looked at", rule["id"])
        now = time.monotonic()
        self._look_again = now + (now - began) / LOOK_SHARE - (now - began)

    def _deliver(self) -> bool:
        """Whether there was something to send that nobody else sends."""
        now = now_us()
        with self._server.db.glance() as conn:
            chosen = fairly(deliveries.due(conn, now, DUE_AT_ONCE))
        with self._server.db.write() as tx:
            claimed = deliveries.claim(tx.conn, chosen, now, now + int(CLAIM_SEC * 1e6))
        threads = [threading.Thread(target=self._send, args=[one], daemon=True) for one in claimed]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return bool(claimed)

    def _send(self, delivery: Row) -> None:
        try:
            error = self._carry(delivery)
            with self._server.db.write() as tx:
                self._note(tx.conn, delivery, error)
        except Exception:
            log.exception("what became of message %d could not be noted: it is sent again", delivery["id"])

    def _carry(self, delivery: Row) -> DeliveryFailed | None:
        try:
            self._server.postmen.carry(delivery)
        except DeliveryFailed as exc:
            return exc
        except Exception:
            log.exception("message %d failed", delivery["id"])
            return DeliveryFailed("the server failed at this message; its log says why")
        return None

    def _note(self, conn: Any, delivery: Row, error: DeliveryFailed | None) -> None:
        number, now = delivery["id"], now_us()
        owner, rule_id = Owner(delivery["owner_id"]), delivery["rule_id"]
        if error is None:
            alert_rules.note_sent(conn, owner, rule_id, now)  # the rule first, as whoever changes it does
            deliveries.end(conn, number, now, None)
            return
        alert_rules.note_error(conn, owner, rule_id, error.sentence, now)
        pause = retry_sec(delivery["attempts"], self._server.settings.alert_retry_sec)
        again = now + int(pause * 1e6)
        if (
            error.permanent
            or delivery["event"] == News.test
            or again - delivery["created"] > GIVE_UP_SEC * 1e6
        ):
            deliveries.end(conn, number, now, error.sentence)
            log.warning("message %d of alert rule %d is given up: %s", number, rule_id, error.sentence)
        else:
            deliveries.postpone(conn, number, again, error.sentence)


def retry_sec(attempts: int, first_sec: float) -> float:
    """The pause after so many tries: twice as long each time, up to an hour."""
    return float(min(MAX_RETRY_SEC, first_sec * 2 ** min(attempts - 1, 30)))


def fairly(due: list[Due]) -> list[int]:
    """Those to send now: of nobody more than a few, so that one user's slow receivers hold up no other's."""
    taken: Counter[int] = Counter()
    chosen: list[int] = []
    for one in due:
        if taken[one.owner_id] < AT_ONCE_OF_ONE and len(chosen) < AT_ONCE:
            taken[one.owner_id] += 1
            chosen.append(one.id)
    return chosen
