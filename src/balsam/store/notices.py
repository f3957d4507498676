"""How server processes on one PostgreSQL hear of each other's commits: NOTIFY, sent inside the transaction.

PostgreSQL delivers a notice when its transaction commits and drops it when it rolls back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass
from typing import Any

import orjson
import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.engine import Engine

log = logging.getLogger(__name__)
CHANNEL = "balsam"
LISTENER = "balsam notices"  # what a connection that listens calls itself
CHANGES_PER_NOTICE = 150  # a notice holds 8,000 bytes at most
POLL_SEC = 1.0  # how soon a stop is noticed
RETRY_SEC = 1.0
# How long a connection may take to be made, and that a peer that vanished without a word is noticed within a
# minute and a half. Firewalls also see that an idle connection is in use.
PATIENCE = {"connect_timeout": 5, "keepalives_idle": 30, "keepalives_interval": 15, "keepalives_count": 4}


@dataclass(frozen=True, slots=True)
class Change:
    """What a committed transaction touched, for those who watch: `kind` is a table's name."""

    user_id: int
    kind: str
    site_id: int


def send(conn: Connection, changes: Collection[Change]) -> None:
    """Tells every listening process, this one too, once the transaction is committed."""
    rows = sorted(astuple(change) for change in changes)
    for start in range(0, len(rows), CHANGES_PER_NOTICE):
        payload = orjson.dumps(rows[start : start + CHANGES_PER_NOTICE]).decode()
        conn.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


class Listener:
    """A thread with a connection of its own that hands on what `send` sent.

    `on_gap` is called after each break of the connection: anything may have changed meanwhile.
    """

    def __init__(
        self,
        engine: Engine,
        on_changes: Callable[[frozenset[Change]], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._on_changes = on_changes
        self._on_gap = on_gap
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Returns when it listens, or after 10 s of trying."""
        self._thread.start()
        self._ready.wait(10.0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except psycopg.Error as exc:
                log.warning("lost the connection for notices: %s", exc)
                self._stop.wait(RETRY_SEC)

    def _listen(self) -> None:
        with connect(self._engine) as conn:
            conn.execute(f"LISTEN {CHANNEL}")
            self._ready.set()
            self._on_gap()
            while not self._stop.is_set():
                for notice in conn.notifies(timeout=POLL_SEC):
                    self._hand_on(notice.payload)

    def _hand_on(self, payload: str) -> None:
        try:
            self._on_changes(_changes(payload))
        except Exception:  # or all streams of this process would be deaf from now on
            log.exception("a notice could not be handed on")


def listeners(engine: Engine) -> int:
    """How many server processes listen on the database now."""
    stmt = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = :name"
    )
    with engine.connect() as conn:
        return int(conn.execute(stmt, {"name": LISTENER}).scalar_one())


def connect(engine: Engine) -> psycopg.Connection:
    """A connection beside the engine's pool."""
    arguments, options = engine.dialect.create_connect_args(engine.url)
    named = {"autocommit": True, "application_name": LISTENER}
    return psycopg.connect(*arguments, **{**PATIENCE, **options, **named})


def _changes(payload: str) -> frozenset[Change]:
    rows: list[list[Any]] = orjson.loads(payload)
    return frozenset(Change(*row) for row in rows)
