"""What makes a database that was restored from a backup fit to be served again."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, delete, insert, select, text, update

from balsam.core.clock import now_us
from balsam.core.errors import WrongSchema
from balsam.store.database import Tx
from balsam.store.tables import meta, metadata, sessions

SKIPPED_IDS = 10_000_000
HOME = "home"


def begin_anew(tx: Tx) -> str:
    """Nothing that was given out after the backup is taken for something of the restored database:

    - a new epoch (returned): cursors of streams answer `reset`;
    - ids go on far above all that may have been given out, so that a launcher that still holds a job or
      session from after the backup finds no other one under its number;
    - leases count from now, since nobody could renew them;
    - events forget which transactions of another PostgreSQL wrote them.
    """
    conn = tx.conn
    epoch = uuid.uuid4().hex
    conn.execute(update(meta).where(meta.c.key == "epoch").values(value=epoch))
    conn.execute(update(sessions).where(sessions.c.ended.is_(None)).values(heartbeat=now_us()))
    for table in metadata.sorted_tables:
        if "id" in table.c:  # also of tables that were empty: they may have been filled since
            _skip_ids(conn, table.name)
    if conn.dialect.name != "sqlite":
        conn.execute(text("UPDATE events SET xid = NULL WHERE xid >= (pg_current_xact_id()::text)::bigint"))
    conn.execute(delete(meta).where(meta.c.key == HOME))
    settle(conn)
    return epoch


def settle(conn: Connection) -> None:
    """Notes where a database lives that has no such note."""
    if conn.execute(select(meta.c.value).where(meta.c.key == HOME)).first() is None:
        conn.execute(insert(meta).values(key=HOME, value=_home(conn)))


def require_home(conn: Connection) -> None:
    """Raises WrongSchema for a database that came here from another place, as a backup does."""
    noted = conn.execute(select(meta.c.value).where(meta.c.key == HOME)).scalar()
    if noted is not None and noted != _home(conn):
        raise WrongSchema(
            "this database was made elsewhere and copied or restored here: run `balsam server restored` "
            "once, so that nothing given out since then is taken for something else"
        )


def _home(conn: Connection) -> str:
    """Tells PostgreSQL's databases apart; an SQLite file may be moved."""
    if conn.dialect.name == "sqlite":
        return "sqlite"
    oid = conn.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar_one()
    allowed = text("SELECT has_function_privilege('pg_control_system()', 'execute')")
    if not conn.execute(allowed).scalar_one():
        return f"database {oid}"
    cluster = conn.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar_one()
    return f"cluster {cluster} database {oid}"


def _skip_ids(conn: Connection, table: str) -> None:
    values = {"table": table, "count": SKIPPED_IDS}
    if conn.dialect.name == "sqlite":
        skip = text("UPDATE sqlite_sequence SET seq = seq + :count WHERE name = :table")
        if conn.execute(skip, values).rowcount == 0:
            conn.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :count)"), values)
        return
    sequence = "pg_get_serial_sequence(:table, 'id')"
    conn.execute(text(f"SELECT setval({sequence}, nextval({sequence}) + :count)"), values)
