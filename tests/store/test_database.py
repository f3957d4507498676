"""The doors to the database: what each sends, and what it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from balsam.store import migrate, users
from balsam.store.database import Database

ON_POSTGRESQL = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)


@pytest.fixture
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(new_database())
    migrate.upgrade(database)
    yield database
    database.close()


def is_in_transaction(conn: Connection) -> bool:
    driver = conn.connection.dbapi_connection
    assert driver is not None
    if conn.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return bool(driver.info.transaction_status != TransactionStatus.IDLE)


def num_users(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM users")).scalar_one())


def add_user(db: Database, name: str) -> None:
    with db.write() as tx:
        users.create(tx.conn, name, None)


def test_a_glance_sends_its_statement_alone(db: Database) -> None:
    with db.glance() as conn:
        assert num_users(conn) == 0
        assert not is_in_transaction(conn)


def test_each_statement_of_a_glance_sees_what_is_committed_by_then(db: Database) -> None:
    with db.glance() as conn:
        assert num_users(conn) == 0
        add_user(db, "somebody")
        assert num_users(conn) == 1


def test_a_reading_transaction_sees_one_snapshot(db: Database) -> None:
    # Both ways in turn over the same connections.
    for number in range(3):
        with db.glance() as conn:
            assert num_users(conn) == number
        with db.read() as conn:
            assert num_users(conn) == number
            add_user(db, f"user{number}")
            assert num_users(conn) == number
            assert is_in_transaction(conn)


def test_nothing_stays_open_after_a_statement_that_failed(db: Database) -> None:
    for door in (db.read, db.glance):
        with pytest.raises(DBAPIError), door() as conn:
            conn.execute(text("SELECT nonsense"))
        with db.glance() as conn:
            assert num_users(conn) == 0
            assert not is_in_transaction(conn)


@ON_POSTGRESQL
def test_readers_of_postgresql_can_not_write(db: Database) -> None:
    for door in (db.read, db.glance):
        with pytest.raises(DBAPIError, match="read-only"), door() as conn:
            conn.execute(text("DELETE FROM users"))


@ON_POSTGRESQL
def test_postgresql_parses_a_statement_that_is_often_read_only_once(db: Database) -> None:
    for door in (db.read, db.glance):
        for _ in range(10):
            with door() as conn:
                num_users(conn)
    with db.glance() as conn:
        prepared = conn.execute(text("SELECT statement FROM pg_prepared_statements")).scalars().all()
    assert "SELECT count(*) FROM users" in prepared
