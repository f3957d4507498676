"""Bringing a database to the newest revision, and telling which one it has."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text

from balsam.core.errors import WrongSchema
from balsam.store import restoration
from balsam.store.database import Database
from balsam.store.tables import meta

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x62616C73616D  # "balsam": whoever migrates holds it until the commit


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of a database (None: it has no tables yet), and what this program needs."""

    found: str | None
    needed: str
    is_known: bool  # whether this program knows the revision that was found

    @property
    def is_current(self) -> bool:
        return self.found == self.needed

    def require_current(self) -> None:
        """Raises WrongSchema with the command that helps."""
        self.refuse_newer()
        if not self.is_current:
            raise WrongSchema(
                f"the database is at revision {self.found or 'none'} and this program needs {self.needed}: "
                "run `balsam server migrate`"
            )

    def refuse_newer(self) -> None:
        """Raises WrongSchema where a newer program made the database."""
        if not self.is_known:
            raise WrongSchema(
                f"the database is at revision {self.found}, which this program does not know: a newer "
                f"Balsam made it (this one knows up to {self.needed}). Install that version or a later one"
            )


def schema(db: Database) -> Schema:
    """What the database has and what it should have."""
    with db.read() as conn:
        return _schema(conn)


def upgrade(db: Database, to: str = "head") -> Schema:
    """Creates or upgrades all tables in one transaction; gives a new database its epoch.

    Answers what was found. Two at once are safe: the second waits and finds nothing to do. Raises
    WrongSchema for a database of a newer program.
    """
    with db.write() as tx:
        if not db.is_sqlite:  # there, the writer holds the whole file anyway
            tx.conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        found = _schema(tx.conn)
        found.refuse_newer()
        if not (found.is_current and to == "head"):
            _upgrade(tx.conn, to)
        if tx.conn.execute(select(meta.c.value).where(meta.c.key == "epoch")).first() is None:
            tx.conn.execute(insert(meta).values(key="epoch", value=uuid.uuid4().hex))
        restoration.settle(tx.conn)
    return found


def _schema(conn: Connection) -> Schema:
    found = _revision(conn)
    known = [file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py")]
    return Schema(found, max(known), is_known=found is None or found in known)


def _revision(conn: Connection) -> str | None:
    """What Alembic has noted."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(conn: Connection, to: str) -> None:
    # Here, since a server whose database is current does without these.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    command.upgrade(config, to)
