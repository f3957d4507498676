import warnings
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from balsam.store import migrate, users
from balsam.store.database import Database
from balsam.store.tables import metadata


def test_the_migrations_make_the_tables_that_the_code_declares(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'new.db'}")
    migrate.upgrade(db)
    with db.read() as conn, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # alembic can't compare the expression index; the lines below do
        differences = compare_metadata(MigrationContext.configure(conn), metadata)
    assert [d for d in differences if "ix_jobs_acquire" not in repr(d)] == []
    with db.read() as conn:
        made = {index["name"] for table in metadata.tables for index in inspect(conn).get_indexes(table)}
        ddl = conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'").scalars().all()
    declared = {index.name for table in metadata.tables.values() for index in table.indexes}
    assert declared <= made | set(ddl)
    db.close()


def test_upgrading_again_changes_nothing_and_keeps_the_epoch(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'new.db'}")
    migrate.upgrade(db)
    with db.read() as conn:
        first = users.epoch(conn)
    migrate.upgrade(db)
    with db.read() as conn:
        assert users.epoch(conn) == first
    assert migrate.is_current(db)
    db.close()
