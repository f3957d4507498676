"""Whether the database has room to write: what its errors say of its disk, and a try."""

from __future__ import annotations

import shutil
from contextlib import suppress

from sqlalchemy import delete, insert
from sqlalchemy.exc import DBAPIError

from balsam.store.database import Database
from balsam.store.tables import meta

FULL = "the disk of the server's database is full"
PG_DISK_FULL = "53100"
PROBE = "probe"
PROBE_BYTES = 65_536
SHORT_BYTES = 1_000_000


def trouble(exc: BaseException) -> str | None:
    """What is wrong with the disk, where a database's error says so."""
    if not isinstance(exc, DBAPIError):
        return None
    name = str(getattr(exc.orig, "sqlite_errorname", ""))
    if name == "SQLITE_FULL" or getattr(exc.orig, "sqlstate", None) == PG_DISK_FULL:
        return FULL
    if name.startswith("SQLITE_IOERR"):
        return f"the disk of the server's database fails or has no room ({exc.orig})"
    if name.startswith("SQLITE_READONLY"):
        return f"the server's database can't be written ({exc.orig})"
    return None


def is_short(db: Database) -> bool:
    """Whether hardly anything is left where SQLite's file is; of PostgreSQL's disk only its errors tell."""
    if db.path is None:
        return False
    with suppress(OSError):
        return shutil.disk_usage(db.path.parent).free < SHORT_BYTES
    return False


def probe(db: Database) -> str | None:
    """Writes and removes a little: what is wrong with the disk, None where nothing is."""
    try:
        with db.write() as tx:
            tx.conn.execute(delete(meta).where(meta.c.key == PROBE))
            tx.conn.execute(insert(meta).values(key=PROBE, value="x" * PROBE_BYTES))
            tx.conn.execute(delete(meta).where(meta.c.key == PROBE))
    except DBAPIError as exc:
        return trouble(exc)
    return None
