import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Table,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from balsam.core.errors import WrongSchema
from balsam.store import migrate, users
from balsam.store.database import Database
from balsam.store.tables import metadata


@pytest.fixture
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    """An empty one."""
    database = Database(new_database())
    yield database
    database.close()


def test_the_migrations_make_the_tables_that_the_code_declares(db: Database) -> None:
    migrate.upgrade(db)
    with db.read() as conn, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # alembic can't compare the expression index; the lines below do
        differences = compare_metadata(MigrationContext.configure(conn), metadata)
    declared = {index.name for table in metadata.tables.values() for index in table.indexes}
    only_elsewhere = "ix_events_owner_id_xid" if db.is_sqlite else "ix_events_owner_id_id"
    known = [only_elsewhere, "ix_jobs_acquire"]
    if not db.is_sqlite:
        known.append("'add_fk'")  # bulk tables have foreign keys on SQLite only
    assert [d for d in differences if not any(name in repr(d) for name in known)] == []
    declared -= {only_elsewhere}
    with db.read() as conn:
        made = {index["name"] for table in metadata.tables for index in inspect(conn).get_indexes(table)}
        catalogue = (
            "SELECT name FROM sqlite_master WHERE type = 'index'"
            if db.is_sqlite
            else "SELECT indexname FROM pg_indexes"
        )
        made |= set(conn.exec_driver_sql(catalogue).scalars())
    assert declared <= made


def test_upgrading_again_changes_nothing_and_keeps_the_epoch(db: Database) -> None:
    migrate.upgrade(db)
    with db.read() as conn:
        first = users.epoch(conn)
    migrate.upgrade(db)
    with db.read() as conn:
        assert users.epoch(conn) == first
    assert migrate.schema(db).is_current


def test_two_upgrades_at_once_are_safe(new_database: Callable[[], str]) -> None:
    url = new_database()
    databases = [Database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(migrate.upgrade, databases))
    assert [schema.found for schema in found].count(None) == 1
    assert all(migrate.schema(db).is_current for db in databases)
    for db in databases:
        db.close()


def test_an_old_and_a_newer_database_are_refused_with_the_remedy(db: Database) -> None:
    with pytest.raises(WrongSchema, match="balsam server migrate"):
        migrate.schema(db).require_current()
    migrate.upgrade(db)
    with db.write() as tx:
        tx.conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (lambda: migrate.upgrade(db), lambda: migrate.schema(db).require_current()):
        with pytest.raises(WrongSchema, match="newer Balsam"):
            refuse()


def test_a_populated_database_of_the_first_revision_keeps_every_row(db: Database) -> None:
    migrate.upgrade(db, "0001")
    before = MetaData()
    with db.write() as tx:
        before.reflect(tx.conn)
        tables = [table for table in before.sorted_tables if table.name not in ("alembic_version", "meta")]
        for table in tables:
            tx.conn.execute(insert(table), [row_of(table, number) for number in (1, 2, 3)])
        kept = {table.name: contents(tx.conn, table) for table in tables}
    migrate.upgrade(db)
    with db.read() as conn:
        for table in tables:
            # On SQLite a table must not have been copied in a way that lost the rows that point to it.
            assert contents(conn, table) == kept[table.name], table.name
    assert migrate.schema(db).is_current


def row_of(table: Table, number: int) -> dict[str, Any]:
    """Something in each column; what points to another table points to the row with the same number."""
    return {column.name: _value(table, column, number) for column in table.columns}


def _value(table: Table, column: Column[Any], number: int) -> Any:
    if column.name == "kind":
        return "login"
    if isinstance(column.type, (JSON, JSONB)):
        return {"number": number}
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, (Integer, Float)):
        return number
    return f"{table.name}-{number}"


def contents(conn: Connection, table: Table) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in conn.execute(select(table))), key=repr)


def test_the_revisions_told_by_the_files_are_those_of_alembic(db: Database) -> None:
    scripts = ScriptDirectory(str(migrate.MIGRATIONS))
    assert migrate.schema(db).needed == scripts.get_current_head()
    names = {Path(script.path).name: script.revision for script in scripts.walk_revisions()}
    assert all(name.startswith(f"{revision}_") for name, revision in names.items())


def test_a_server_whose_database_is_current_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """Alembic and the libraries for a login provider would be a fifth of its memory."""
    url = f"sqlite:///{tmp_path / 'balsam.db'}"
    db = Database(url)
    migrate.upgrade(db)
    db.close()
    program = (
        "import sys; from balsam.server.app import build; from balsam.server.settings import ServerSettings; "
        f"build(ServerSettings({url!r})); "
        "print({'alembic', 'joserfc', 'httpx', 'httpcore'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
