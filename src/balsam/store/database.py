"""The two engines behind one door: `Database.read()` and `Database.write()`.

SQLite: WAL with `synchronous=FULL`, one writer at a time in one server process, readers beside it on their
own connections. PostgreSQL: a pool of connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine, make_url


@dataclass(frozen=True, slots=True)
class Change:
    """What a committed transaction touched, for those who watch: `kind` is a table's name."""

    user_id: int
    kind: str
    site_id: int


@dataclass(slots=True)
class Tx:
    """One writing transaction: its connection, and what it tells the watchers once it is committed."""

    conn: Connection
    changes: set[Change] = field(default_factory=set)

    def changed(self, user_id: int, kind: str, site_id: int) -> None:
        self.changes.add(Change(user_id, kind, site_id))


class Database:
    def __init__(self, url: str, *, readers: int = 20) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.on_commit: Callable[[frozenset[Change]], None] = lambda changes: None
        self._writer_lock: AbstractContextManager[object] = nullcontext()
        options: dict[str, Any] = {
            "json_serializer": _dumps,
            "json_deserializer": orjson.loads,
            "hide_parameters": True,  # errors go to the log, and parameters hold users' data
        }
        self.readers = create_engine(self.url, pool_size=readers, max_overflow=2 * readers, **options)
        self.writers = self.readers
        if self.is_sqlite:
            self._writer_lock = threading.Lock()
            self.writers = create_engine(self.url, pool_size=1, max_overflow=0, **options)
            _set_up_sqlite(self.readers, begin="BEGIN")
            _set_up_sqlite(self.writers, begin="BEGIN IMMEDIATE")

    @property
    def path(self) -> Path | None:
        """The database file of SQLite."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot."""
        with self.readers.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """One transaction; watchers hear of it after the commit."""
        with self._writer_lock, self.writers.begin() as conn:
            tx = Tx(conn)
            yield tx
        if tx.changes:
            self.on_commit(frozenset(tx.changes))

    def close(self) -> None:
        self.writers.dispose()
        self.readers.dispose()


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _set_up_sqlite(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # SQLAlchemy's begin event opens transactions, not sqlite3
        cursor = dbapi_connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=10000",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def open_transaction(conn: Connection) -> None:
        conn.exec_driver_sql(begin)
