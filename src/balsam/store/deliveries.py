"""The outbox of alerts: messages from decision to arrival, each claimed by one process at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from balsam.core.alerts import News
from balsam.store.bulk import among, dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import alert_deliveries, alert_rules

_table = alert_deliveries


def add(conn: Connection, owner: Owner, rule_id: int, event: News, body: dict[str, Any], now: int) -> int:
    values = {"key": uuid4().hex, "event": event, "body": body, "created": now, "next_try": now}
    stmt = insert(_table).values(owner_id=owner.user_id, rule_id=rule_id, attempts=0, **values)
    return int(conn.execute(stmt.returning(_table.c.id)).scalar_one())


def get(conn: Connection, owner: Owner, delivery_id: int) -> dict[str, Any] | None:
    found = dicts(conn.execute(select(_table).where(*mine(_table, owner), _table.c.id == delivery_id)))
    return found[0] if found else None


def has_unsent(conn: Connection, owner: Owner, rule_id: int, *, test: bool) -> bool:
    """Whether a test message, or another one, of the rule is on its way."""
    kind = _table.c.event == News.test if test else _table.c.event != News.test
    stmt = select(_table.c.id).where(*mine(_table, owner), _table.c.rule_id == rule_id, _unsent(), kind)
    return conn.execute(stmt.limit(1)).first() is not None


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now, and whose."""

    id: int
    owner_id: int


def due(conn: Connection, now: int, limit: int) -> list[Due]:
    """Of every owner, longest overdue first; of a rule only the oldest, so that messages keep their order."""
    stmt = select(_table.c.id, _table.c.owner_id).where(_unsent(), _table.c.next_try <= now, _is_first())
    return [Due(*row) for row in conn.execute(stmt.order_by(_table.c.next_try).limit(limit))]


def next_try(conn: Connection) -> int | None:
    """When the next message, of whichever owner, is to be sent; None where none is on its way."""
    found: int | None = conn.execute(_first_try()).scalar()
    return found


def _first_try() -> Select[Any]:
    return select(func.min(_table.c.next_try)).where(_unsent(), _is_first())


def _is_first() -> ColumnElement[bool]:
    """A test waits for nobody, and nobody for it."""
    elder = _table.alias("elder")
    waits_for = and_(
        elder.c.rule_id == _table.c.rule_id,
        elder.c.id < _table.c.id,
        elder.c.ended.is_(None),
        elder.c.event != News.test,
    )
    return or_(_table.c.event == News.test, ~exists(select(elder.c.id).where(waits_for)))


def claim(conn: Connection, ids: Collection[int], now: int, again: int) -> list[dict[str, Any]]:
    """Those that nobody else has claimed, with their rule's channel, address and secret.

    `again`: when they are tried again if this process is never heard of any more.
    """
    stmt = (
        update(_table)
        .where(among(_table.c.id, ids), _unsent(), _table.c.next_try <= now)
        .values(next_try=again, attempts=_table.c.attempts + 1)
        .returning(_table.c.id)
    )
    mine_now = list(conn.execute(stmt).scalars())
    names = ("kind", "channel", "address", "secret")
    both = select(_table, *(alert_rules.c[name] for name in names)).join(
        alert_rules, alert_rules.c.id == _table.c.rule_id
    )
    return dicts(conn.execute(both.where(among(_table.c.id, mine_now)).order_by(_table.c.id)))


def release_all(conn: Connection, now: int) -> None:
    """For a process that is alone: what its predecessor had claimed is to be sent now, if it was never tried.

    What was tried and failed keeps its time.
    """
    stmt = update(_table).where(_unsent(), _table.c.error.is_(None), _table.c.next_try > now)
    conn.execute(stmt.values(next_try=now))


def end(conn: Connection, delivery_id: int, now: int, error: str | None) -> bool:
    """It arrived, or (`error`) is given up; False where it is gone with its rule."""
    stmt = update(_table).where(_table.c.id == delivery_id).values(ended=now, error=error)
    return conn.execute(stmt).rowcount == 1


def postpone(conn: Connection, delivery_id: int, again: int, error: str) -> bool:
    stmt = update(_table).where(_table.c.id == delivery_id, _unsent())
    return conn.execute(stmt.values(next_try=again, error=error)).rowcount == 1


def drop_unsent(conn: Connection, owner: Owner, rule_id: int) -> None:
    conn.execute(delete(_table).where(*mine(_table, owner), _table.c.rule_id == rule_id, _unsent()))


def forget(conn: Connection, before: int) -> None:
    """Drops what was written before then and has ended."""
    conn.execute(delete(_table).where(_table.c.created < before, _table.c.ended.is_not(None)))


def unsent(conn: Connection) -> tuple[int, int | None]:
    """How many are on their way, of all owners, and when the oldest was written."""
    stmt = select(func.count(), func.min(_table.c.created)).where(_unsent())
    number, oldest = conn.execute(stmt).one()
    return int(number), oldest


def _unsent() -> ColumnElement[bool]:
    return _table.c.ended.is_(None)
