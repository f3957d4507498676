"""The two engines behind three doors: `Database.read()`, `Database.glance()` and `Database.write()`.

SQLite: WAL with `synchronous=FULL`, one writer at a time in one server process, readers beside it on their
own connections. PostgreSQL: a pool for reading transactions and one for writing ones, in any number of server
processes, which hear of each other's commits through `store.notices`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url

from balsam.store import notices
from balsam.store.notices import Change


@dataclass(slots=True)
class Tx:
    """One writing transaction: its connection, and what it tells the watchers once it is committed."""

    conn: Connection
    changes: set[Change] = field(default_factory=set)
    moves: Counter[str] = field(default_factory=Counter)  # of jobs, by the state that they enter
    num_events: int = 0  # of jobs, those of their creation included

    def changed(self, user_id: int, kind: str, site_id: int) -> None:
        self.changes.add(Change(user_id, kind, site_id))


class Database:
    """`pool`: connections for each of reading and writing that one process keeps, twice as many at a peak."""

    def __init__(self, url: str, *, pool: int = 8) -> None:
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.on_commit: Callable[[frozenset[Change]], None] = lambda changes: None
        self.on_moves: Callable[[Counter[str], int], None] = lambda moves, num_events: None
        self._writer_lock: AbstractContextManager[object] = nullcontext()
        options: dict[str, Any] = {
            "json_serializer": _dumps,
            "json_deserializer": orjson.loads,
            "hide_parameters": True,  # errors go to the log, and parameters hold users' data
        }
        if self.is_sqlite:
            self._writer_lock = threading.Lock()
            self.readers = create_engine(self.url, pool_size=20, max_overflow=40, **options)
            self.writers = create_engine(self.url, pool_size=1, max_overflow=0, **options)
            self._snapshots: Engine = self.readers.execution_options()
            for engine in (self.readers, self.writers):
                event.listen(engine, "connect", _set_up_sqlite)
            _begin_with(self._snapshots, "BEGIN")
            _begin_with(self.writers, "BEGIN IMMEDIATE")
        else:
            options |= {"pool_size": pool, "max_overflow": pool, "connect_args": _session(reading=True)}
            self.readers = create_engine(self.url, isolation_level="AUTOCOMMIT", **options)
            self._snapshots = self.readers.execution_options(isolation_level="REPEATABLE READ")
            self.writers = create_engine(self.url, **options | {"connect_args": _session(reading=False)})

    @property
    def path(self) -> Path | None:
        """The database file of SQLite."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot."""
        # Ends with a commit: at a rollback psycopg forgets which statements it has prepared.
        with self._snapshots.begin() as conn:
            yield conn

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For one statement, or several that need not agree: each sees what is committed by then.

        Nothing is sent around them, which saves PostgreSQL two of three round trips.
        """
        with self.readers.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """One transaction; watchers of every server process hear of it after the commit."""
        with self._writer_lock, self.writers.begin() as conn:
            tx = Tx(conn)
            yield tx
            if tx.changes and not self.is_sqlite:
                notices.send(conn, tx.changes)
        if tx.num_events:
            self.on_moves(tx.moves, tx.num_events)
        # Others come back as a notice; but who hears from this process that a token is revoked relies on it.
        own = {change for change in tx.changes if self.is_sqlite or change.kind == "tokens"}
        if own:
            self.on_commit(frozenset(own))

    def close(self) -> None:
        self.writers.dispose()
        self.readers.dispose()


def database_url(text: str) -> URL:
    """A URL with the driver that we use: `postgresql://` and `postgres://` mean psycopg."""
    url = make_url(
        text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text
    )
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _session(*, reading: bool) -> dict[str, Any]:
    """How a PostgreSQL connection begins. Those of readers can't write."""
    settings = {"timezone": "UTC", "idle_in_transaction_session_timeout": "60s"}
    if reading:
        # What suits a busy site would be planned for a quiet one, too, if plans were kept with statements.
        settings |= {"default_transaction_read_only": "on", "plan_cache_mode": "force_custom_plan"}
        # Rows by an index cost what they do on an SSD: else a hundredth of a table is sought in all of it.
        settings["random_page_cost"] = "1.1"
    return {
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "application_name": "balsam",
        **notices.PATIENCE,
    }


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _set_up_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None  # SQLAlchemy's begin event opens transactions, not sqlite3
    cursor = dbapi_connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        "cache_size=-65536",
        "temp_store=MEMORY",
        "case_sensitive_like=ON",  # as PostgreSQL does
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def open_transaction(conn: Connection) -> None:
        conn.exec_driver_sql(statement)
