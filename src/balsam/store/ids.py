"""Ids given before the insert, so that a job, its event and its tags go in as three plain bulk inserts."""

from sqlalchemy import Connection, Table, func, select, text


def allocate(conn: Connection, table: Table, count: int) -> list[int]:
    """`count` ids that no row of the table has or had, rising."""
    if conn.dialect.name == "sqlite":
        return _from_sqlite_sequence(conn, table.name, count)
    sequence = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")
    return sorted(conn.execute(sequence, {"name": table.name, "count": count}).scalars().all())


def newest(conn: Connection, table: Table) -> int:
    """The highest id that was ever given; 0 before the first."""
    if conn.dialect.name == "sqlite":
        given = conn.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        return int(given.scalar() or 0)
    return int(conn.execute(select(func.max(table.c.id))).scalar() or 0)


def _from_sqlite_sequence(conn: Connection, name: str, count: int) -> list[int]:
    # The writer holds the database alone, so that nobody takes an id between the two statements.
    bump = text("UPDATE sqlite_sequence SET seq = seq + :count WHERE name = :name RETURNING seq")
    last = conn.execute(bump, {"name": name, "count": count}).scalar()
    if last is None:
        conn.execute(
            text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :count)"),
            {"name": name, "count": count},
        )
        last = count
    return list(range(last - count + 1, last + 1))
