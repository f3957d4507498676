"""A user's rules: made, changed, removed, tried; and what fires."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from balsam.core.alerts import DEFAULTS, MAX_ALERT_RULES, AlertKind, Channel, News
from balsam.core.clock import now_us
from balsam.core.errors import Conflict, Invalid, NotFound
from balsam.logic import attempts
from balsam.logic.alert_messages import test_body
from balsam.schemas.alerts import AlertRuleCreate, AlertRuleUpdate
from balsam.store import alert_rules, alerts, deliveries, sites
from balsam.store.database import Tx
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.sites import SiteFilter

Row = dict[str, Any]
CHANGED = "alerts"  # who looks at rules and sends messages wakes at this kind of change
# Another rule than before: what is known of its subjects says nothing any more.
_CONDITION = ("site_ids", "tags", "minutes", "threshold", "min_jobs")


def create(tx: Tx, owner: Owner, want: AlertRuleCreate) -> Row:
    """The new rule; raises Invalid where it can't be meant so, Conflict where the user has too many."""
    _count(tx, owner, attempts.OF_ALERT_RULES)
    if alert_rules.count(tx.conn, owner) >= MAX_ALERT_RULES:
        raise Conflict(f"you have {MAX_ALERT_RULES} alert rules, which is the most: remove one first")
    defaults, now = DEFAULTS[want.kind], now_us()
    values = {
        "kind": want.kind.value,
        "site_ids": None if want.site_id is None else sorted(set(want.site_id)),
        "tags": want.tags,
        "minutes": want.minutes or defaults.minutes,
        "threshold": want.threshold or defaults.threshold,
        "min_jobs": want.min_jobs,
        "remind_hours": want.remind_hours,
        "channel": want.channel.value,
        "address": want.address,
        "secret": want.secret,
    }
    _check(tx.conn, owner, values)
    tx.changed(owner.user_id, CHANGED, 0)
    return alert_rules.create(tx.conn, owner, {**values, "created": now, "due": now})


def change(tx: Tx, owner: Owner, rule_id: int, want: AlertRuleUpdate) -> Row:
    """The rule as it is now. With another condition or address it begins anew, and nobody is told."""
    _count(tx, owner, attempts.OF_ALERT_RULES)
    before = alert_rules.lock(tx.conn, owner, rule_id)
    if before is None:
        raise NotFound("Not found")
    values = {_COLUMN.get(name, name): value for name, value in _given(want).items()}
    _check(tx.conn, owner, {**before, **values})
    if any(values.get(name, before[name]) != before[name] for name in _CONDITION):
        alerts.replace(tx.conn, owner, rule_id, [])
    if any(name in values for name in ("channel", "address")):
        deliveries.drop_unsent(tx.conn, owner, rule_id)
        values |= {"error": None, "error_at": None, "sent_at": None}
    tx.changed(owner.user_id, CHANGED, 0)
    return alert_rules.change(tx.conn, owner, rule_id, {**values, "due": now_us()})


_COLUMN = {"site_id": "site_ids"}
_NULLABLE = ("site_id", "secret")


def _given(want: AlertRuleUpdate) -> Row:
    sent = want.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in sent.items() if value is not None or name in _NULLABLE}


def _check(conn: Connection, owner: Owner, rule: Row) -> None:
    kind = AlertKind(rule["kind"])
    if rule["tags"] and kind is not AlertKind.failure_rate:
        raise Invalid(f"tags choose jobs of a {AlertKind.failure_rate} rule only; {kind} takes sites")
    if rule["threshold"] is not None and DEFAULTS[kind].threshold is None:
        raise Invalid(f"a {kind} rule has no threshold")
    if rule["secret"] is not None and rule["channel"] != Channel.webhook:
        raise Invalid("a secret signs the messages of a webhook; mail takes none")
    if rule["site_ids"] is not None:
        known = {row["id"] for row in sites.page(conn, owner, SiteFilter(id=rule["site_ids"]), Page())}
        missing = sorted(set(rule["site_ids"]) - known)
        if missing:
            raise Invalid(f"No site with ID {missing[0]}")


def _count(tx: Tx, owner: Owner, limit: attempts.Limit) -> None:
    """Rules that come and go, and tests, would send as many messages as anybody likes to whomever."""
    attempts.count(tx, attempts.Attempt(limit, str(owner.user_id)))


def remove(tx: Tx, owner: Owner, rule_id: int) -> None:
    """With its alerts and the messages that are on their way."""
    if not alert_rules.remove(tx.conn, owner, rule_id):
        raise NotFound("Not found")


def try_out(tx: Tx, owner: Owner, rule_id: int) -> Row:
    """Sends a test message, once; the delivery."""
    _count(tx, owner, attempts.OF_ALERT_TESTS)
    rule = alert_rules.lock(tx.conn, owner, rule_id)
    if rule is None:
        raise NotFound("Not found")
    if deliveries.has_unsent(tx.conn, owner, rule_id, test=True):
        raise Conflict(f"a test message of rule {rule_id} is on its way: wait for it")
    now = now_us()
    number = deliveries.add(tx.conn, owner, rule_id, News.test, test_body(rule, now), now)
    tx.changed(owner.user_id, CHANGED, 0)
    return delivery(tx.conn, owner, number)


def delivery(conn: Connection, owner: Owner, delivery_id: int) -> Row:
    row = deliveries.get(conn, owner, delivery_id)
    if row is None:
        raise NotFound("Not found")
    return row


def rule(conn: Connection, owner: Owner, rule_id: int) -> Row:
    """A rule, with the number of its alerts that fire as `firing`."""
    row = alert_rules.get(conn, owner, rule_id)
    if row is None:
        raise NotFound("Not found")
    return {**row, "firing": alerts.firing_by_rule(conn, owner).get(rule_id, 0)}


def rules(conn: Connection, owner: Owner) -> list[Row]:
    """All of the user's, the oldest first, each as `rule` has it."""
    firing = alerts.firing_by_rule(conn, owner)
    return [{**row, "firing": firing.get(row["id"], 0)} for row in alert_rules.all_of(conn, owner)]


def firing(conn: Connection, owner: Owner) -> list[Row]:
    """The user's alerts that fire, the newest first, each with its rule's `kind`."""
    return alerts.firing(conn, owner)
