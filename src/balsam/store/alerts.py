"""Alerts: what is the matter with the subjects of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from balsam.store.bulk import dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import alert_rules, alerts


def of_rule(conn: Connection, owner: Owner, rule_id: int) -> list[dict[str, Any]]:
    stmt = select(alerts).where(*mine(alerts, owner), alerts.c.rule_id == rule_id)
    return dicts(conn.execute(stmt.order_by(alerts.c.subject)))


def replace(conn: Connection, owner: Owner, rule_id: int, rows: Sequence[dict[str, Any]]) -> None:
    """What is known of a rule's subjects from now on."""
    conn.execute(delete(alerts).where(*mine(alerts, owner), alerts.c.rule_id == rule_id))
    if rows:
        conn.execute(insert(alerts), [{"owner_id": owner.user_id, "rule_id": rule_id, **row} for row in rows])


def firing(conn: Connection, owner: Owner) -> list[dict[str, Any]]:
    """The newest first, each with its rule's `kind`."""
    stmt = (
        select(alerts, alert_rules.c.kind)
        .join(alert_rules, alert_rules.c.id == alerts.c.rule_id)
        .where(*mine(alerts, owner, searched=True), alerts.c.firing_since.is_not(None))
        .order_by(alerts.c.firing_since.desc(), alerts.c.rule_id, alerts.c.subject)
    )
    return dicts(conn.execute(stmt))


def firing_by_rule(conn: Connection, owner: Owner) -> dict[int, int]:
    """How many fire, of each rule of which any does."""
    fires = [*mine(alerts, owner, searched=True), alerts.c.firing_since.is_not(None)]
    stmt = select(alerts.c.rule_id, func.count()).where(*fires).group_by(alerts.c.rule_id)
    return dict(conn.execute(stmt).all())


def count_firing(conn: Connection) -> int:
    """Of all owners, for the operator's metrics."""
    stmt = select(func.count()).select_from(alerts).where(alerts.c.firing_since.is_not(None))
    return conn.execute(stmt).scalar_one()
