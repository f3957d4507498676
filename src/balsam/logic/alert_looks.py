"""Looking at rules: each by one process at a time; a decision is kept together with the messages on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from balsam.core.alerts import AlertKind, News
from balsam.core.clock import now_us
from balsam.logic.alert_messages import body
from balsam.logic.alerts import Alert, Decision, Terms, decide
from balsam.logic.symptoms import look
from balsam.store import alert_rules, alerts, deliveries
from balsam.store.database import Database
from balsam.store.owner import Owner

Row = dict[str, Any]
RULES_AT_ONCE = 20
_NAMES = [field.name for field in fields(Alert)]


def claim(db: Database, every_sec: float) -> list[Row]:
    """Some rules that are due, whoever's; nobody else looks at them for so long."""
    now = now_us()
    with db.write() as tx:
        return alert_rules.claim(tx.conn, now, now + int(every_sec * 1e6), RULES_AT_ONCE)


def settle(db: Database, rule: Row, up_since: int, now: int | None = None) -> Decision:
    """Looks at a claimed rule; a change of its alerts and the messages on it are one transaction.

    Where the rule was changed or claimed anew meanwhile, nothing is written: that one is looked at.
    """
    now = now_us() if now is None else now
    owner = Owner(rule["owner_id"])
    with db.read() as conn:
        known = _known(alerts.of_rule(conn, owner, rule["id"]))
        seen = look(conn, rule, now, up_since)
    terms = Terms.of(AlertKind(rule["kind"]), rule["minutes"], rule["remind_hours"])
    decision = decide(known, seen, terms, now)
    if decision.messages or decision.alerts != known:
        _write(db, owner, rule, decision, now)
    return decision


def _known(rows: list[Row]) -> Mapping[int, Alert]:
    return {row["subject"]: Alert(**{name: row[name] for name in _NAMES}) for row in rows}


def _write(db: Database, owner: Owner, rule: Row, decision: Decision, now: int) -> None:
    with db.write() as tx:
        if not alert_rules.is_as_claimed(tx.conn, owner, rule["id"], rule["due"]):
            return
        alerts.replace(tx.conn, owner, rule["id"], [asdict(one) for one in decision.alerts.values()])
        for message in decision.messages:
            if message.event is News.reminder and deliveries.has_unsent(
                tx.conn, owner, rule["id"], test=False
            ):
                continue  # what it reminds of has not even arrived
            deliveries.add(tx.conn, owner, rule["id"], message.event, body(rule, message, now), now)
