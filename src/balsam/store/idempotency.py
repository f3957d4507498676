"""Answers to requests that may come again: kept with the request's own transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, text

from balsam.core.clock import now_us
from balsam.store.owner import Owner
from balsam.store.tables import idempotency


def lock(conn: Connection, owner: Owner, key: str) -> None:
    """Until the transaction ends, nobody else acts on this key: of two that cross, one finds the other.

    On SQLite the one writer is alone anyway.
    """
    if conn.dialect.name != "sqlite":
        stmt = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, :owner))")
        conn.execute(stmt, {"key": key, "owner": owner.user_id})


def find(conn: Connection, owner: Owner, key: str) -> tuple[str, Any] | None:
    """(digest of the body, answer) of the request that first brought the key."""
    stmt = select(idempotency.c.digest, idempotency.c.answer).where(
        idempotency.c.owner_id == owner.user_id, idempotency.c.key == key
    )
    row = conn.execute(stmt).first()
    return (row[0], row[1]) if row else None


def keep(conn: Connection, owner: Owner, key: str, digest: str, answer: Any) -> None:
    conn.execute(
        insert(idempotency).values(
            owner_id=owner.user_id, key=key, digest=digest, answer={"answer": answer}, created=now_us()
        )
    )


def forget(conn: Connection, before: int) -> None:
    conn.execute(delete(idempotency).where(idempotency.c.created < before))
