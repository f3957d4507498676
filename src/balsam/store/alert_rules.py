"""Rules: what users want to be told of, and which of them are to be looked at."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from balsam.store.bulk import dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import alert_rules


def create(conn: Connection, owner: Owner, values: dict[str, Any]) -> dict[str, Any]:
    stmt = insert(alert_rules).values(owner_id=owner.user_id, **values).returning(alert_rules)
    return dict(conn.execute(stmt).mappings().one())


def all_of(conn: Connection, owner: Owner) -> list[dict[str, Any]]:
    stmt = select(alert_rules).where(*mine(alert_rules, owner, searched=True)).order_by(alert_rules.c.id)
    return dicts(conn.execute(stmt))


def count(conn: Connection, owner: Owner) -> int:
    stmt = select(func.count()).select_from(alert_rules).where(*mine(alert_rules, owner, searched=True))
    return conn.execute(stmt).scalar_one()


def get(conn: Connection, owner: Owner, rule_id: int) -> dict[str, Any] | None:
    found = dicts(conn.execute(select(alert_rules).where(*mine(alert_rules, owner), _is(rule_id))))
    return found[0] if found else None


def lock(conn: Connection, owner: Owner, rule_id: int) -> dict[str, Any] | None:
    """The rule; until the transaction ends nobody else changes it."""
    stmt = select(alert_rules).where(*mine(alert_rules, owner), _is(rule_id)).with_for_update()
    found = dicts(conn.execute(stmt))
    return found[0] if found else None


def change(conn: Connection, owner: Owner, rule_id: int, values: dict[str, Any]) -> dict[str, Any]:
    stmt = update(alert_rules).where(*mine(alert_rules, owner), _is(rule_id)).values(**values)
    return dict(conn.execute(stmt.returning(alert_rules)).mappings().one())


def remove(conn: Connection, owner: Owner, rule_id: int) -> bool:
    """With its alerts and messages."""
    return conn.execute(delete(alert_rules).where(*mine(alert_rules, owner), _is(rule_id))).rowcount == 1


def next_due(conn: Connection) -> int | None:
    """When the first rule, of whichever owner, is to be looked at; None without any."""
    found: int | None = conn.execute(select(func.min(alert_rules.c.due))).scalar()
    return found


def claim(conn: Connection, now: int, due: int, limit: int) -> list[dict[str, Any]]:
    """Every owner's rules that are due, for the one process that gets them; `due`: when they are again."""
    oldest = (
        select(alert_rules.c.id)
        .where(alert_rules.c.due <= now)
        .order_by(alert_rules.c.due)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    stmt = update(alert_rules).where(alert_rules.c.id.in_(oldest)).values(due=due).returning(alert_rules)
    return sorted(dicts(conn.execute(stmt)), key=lambda row: int(row["id"]))


def is_as_claimed(conn: Connection, owner: Owner, rule_id: int, due: int) -> bool:
    """Whether nobody has changed, removed or looked at the rule since; nobody does until the end."""
    stmt = select(alert_rules.c.id).where(*mine(alert_rules, owner), _is(rule_id), alert_rules.c.due == due)
    return conn.execute(stmt.with_for_update()).first() is not None


def note_sent(conn: Connection, owner: Owner, rule_id: int, now: int) -> None:
    values = {"error": None, "error_at": None, "sent_at": now}
    conn.execute(update(alert_rules).where(*mine(alert_rules, owner), _is(rule_id)).values(**values))


def note_error(conn: Connection, owner: Owner, rule_id: int, error: str, now: int) -> None:
    values = {"error": error, "error_at": now}
    conn.execute(update(alert_rules).where(*mine(alert_rules, owner), _is(rule_id)).values(**values))


def _is(rule_id: int) -> Any:
    return alert_rules.c.id == rule_id
