"""Bringing a database to the newest revision."""

from __future__ import annotations

import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select

from balsam.store.database import Database
from balsam.store.tables import meta

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(db: Database) -> None:
    """Creates or upgrades all tables in one transaction; gives a new database its epoch."""
    with db.write() as tx:
        command.upgrade(_config(tx.conn), "head")
        if tx.conn.execute(select(meta.c.value).where(meta.c.key == "epoch")).first() is None:
            tx.conn.execute(insert(meta).values(key="epoch", value=uuid.uuid4().hex))


def is_current(db: Database) -> bool:
    """Whether the database is at the newest revision that this program knows."""
    with db.read() as conn:
        current = MigrationContext.configure(conn).get_current_revision()
        return current == ScriptDirectory.from_config(_config(conn)).get_current_head()


def _config(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = conn
    return config
