"""How often somebody tried, in buckets that leak; shared by all server processes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from balsam.store.tables import login_attempts as table


def fill(conn: Connection, bucket: str, now: int, drop_us: int, size: int) -> int | None:
    """Puts one drop in, which takes `drop_us` to leak out; None if it had room.

    If `size` drops are in, nothing is put in, and the answer is how many microseconds until one has room.
    """
    insert: Any = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    begins = case((table.c.empty_at > now, table.c.empty_at), else_=now)
    stmt = (
        insert(table)
        .values(bucket=bucket, empty_at=now + drop_us)
        .on_conflict_do_update(
            index_elements=["bucket"],
            set_={"empty_at": begins + drop_us},
            where=table.c.empty_at <= now + (size - 1) * drop_us,
        )
        .returning(table.c.empty_at)
    )
    if conn.execute(stmt).first() is not None:
        return None
    empty_at = conn.execute(select(table.c.empty_at).where(table.c.bucket == bucket)).scalar_one()
    return max(1, int(empty_at) - now - (size - 1) * drop_us)


def give_back(conn: Connection, bucket: str, drop_us: int) -> None:
    """Takes one drop out: the attempt was no failure."""
    conn.execute(update(table).where(table.c.bucket == bucket).values(empty_at=table.c.empty_at - drop_us))


def empty(conn: Connection, bucket: str) -> None:
    conn.execute(delete(table).where(table.c.bucket == bucket))


def drop_empty(conn: Connection, now: int) -> None:
    conn.execute(delete(table).where(table.c.empty_at < now))
