"""What each database does with the same rows by its driver alone: no HTTP, no checks, no objects.

The reference works in a second database with the same tables and indexes, in transactions of the sizes that
the server's have, with the same durability.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.store import migrate
from balsam.store.database import Database
from benchmarks import bulk, serving
from benchmarks.bulk import timed

# Tables in the order in which rows may be inserted, and which rows of them creating the jobs has made.
CONTEXT = {"users": "TRUE", "sites": "TRUE", "apps": "TRUE"}
CREATED = {
    "jobs": "id >= {first}",
    "job_tags": "job_id >= {first}",
    "events": "job_id >= {first} AND from_state IN ('CREATED', 'STAGED_IN')",
}
RUN_DATA = '{"num_nodes": 1.0, "nodes": ["localhost"], "cpus": 1.0, "gpus": 0}'
RUNNABLE = """
    SELECT id FROM jobs WHERE state = 'PREPROCESSED' AND session_id IS NULL AND site_id = {site_id}
    ORDER BY priority DESC, num_nodes DESC, node_packing_count, wall_time_min DESC, id LIMIT {limit}"""


def seconds(engine: serving.Engine, source: serving.Serving, site_id: int, count: int) -> dict[str, float]:
    """What the bulk steps take for the jobs that `source` has just led from creation to their end."""
    with closing(_ALONE[engine.name](source, engine.new_database(), site_id, count)) as database:
        return database.seconds()


class Alone(ABC):
    """The four bulk steps in a database of their own, given the rows that the server has made of them."""

    def __init__(self, source: serving.Serving, database_url: str, site_id: int, count: int) -> None:
        db = Database(database_url)
        migrate.upgrade(db)
        db.close()
        self._source = source.connect()
        self._conn = serving.connect(source.engine, database_url)
        self._site_id = site_id
        self._count = count

    def close(self) -> None:
        self._source.close()
        self._conn.close()

    def seconds(self) -> dict[str, float]:
        """For all jobs, step by step."""
        self._insert({table: self._rows(table, where) for table, where in CONTEXT.items()})
        [[first]] = self._source.execute(f"SELECT max(id) - {self._count} + 1 FROM jobs").fetchall()
        rows = {table: self._rows(table, where.format(first=first)) for table, where in CREATED.items()}
        seconds = {bulk.CREATE: timed(lambda: self._insert(rows))}
        self._conn.execute("UPDATE jobs SET state = 'PREPROCESSED', num_runs = 0")
        self._tidy_up()
        ids: list[int] = []
        seconds[bulk.ACQUIRE] = timed(lambda: ids.extend(self._claim_all()))
        seconds[bulk.START] = timed(lambda: self._in_parts(ids, self._start))
        seconds[bulk.END] = timed(lambda: self._in_parts(ids, self._end))
        self._check()
        return seconds

    def _claim_all(self) -> list[int]:
        ids: list[int] = []
        while some := self._claim():
            ids += some
        return ids

    def _in_parts(self, ids: Sequence[int], act: Any) -> None:
        for part in bulk.parts(ids, MAX_ITEMS_PER_BULK_OP):
            act(part)

    def _check(self) -> None:
        finished = "SELECT count(*) FROM jobs WHERE state = 'JOB_FINISHED'"
        told = "SELECT count(*) FROM events WHERE to_state = 'JOB_FINISHED'"
        ran = 'SELECT count(*) FROM runs WHERE "end" IS NOT NULL'
        for statement in (finished, told, ran):
            [[count]] = self._conn.execute(statement).fetchall()
            if count != self._count:
                raise SystemExit(f"the reference did {count} of {self._count}: {statement}")

    @abstractmethod
    def _tidy_up(self) -> None:
        """Takes the traces of rows that were copied out of the way of what follows."""

    @abstractmethod
    def _rows(self, table: str, where: str) -> Any: ...

    @abstractmethod
    def _insert(self, rows: dict[str, Any]) -> None: ...

    @abstractmethod
    def _claim(self) -> list[int]: ...

    @abstractmethod
    def _start(self, ids: list[int]) -> None: ...

    @abstractmethod
    def _end(self, ids: list[int]) -> None: ...


class PostgresqlAlone(Alone):
    """COPY, and one statement for a change with its events and runs."""

    def _rows(self, table: str, where: str) -> bytes:
        with self._source.cursor().copy(f"COPY (SELECT * FROM {table} WHERE {where}) TO STDOUT") as copy:
            return b"".join(map(bytes, copy))

    def _insert(self, rows: dict[str, bytes]) -> None:
        with self._conn.transaction(), self._conn.cursor() as cursor:
            for table, text in rows.items():
                with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    copy.write(text)

    def _tidy_up(self) -> None:
        events = "pg_get_serial_sequence('events', 'id')"
        self._conn.execute(f"SELECT setval({events}, (SELECT max(id) FROM events))")
        self._conn.execute("VACUUM (ANALYZE)")

    def _claim(self) -> list[int]:
        runnable = RUNNABLE.format(site_id=self._site_id, limit=bulk.ACQUIRED_AT_ONCE)
        rows = self._conn.execute(
            f"UPDATE jobs SET session_id = 1 WHERE id IN ({runnable} FOR UPDATE SKIP LOCKED) RETURNING *"
        ).fetchall()
        return [row[0] for row in rows]

    def _start(self, ids: list[int]) -> None:
        self._conn.execute(
            """
            WITH given AS (SELECT unnest(%(ids)s::bigint[]) AS id, unnest(%(stamps)s::bigint[]) AS stamp),
            changed AS (
                UPDATE jobs SET state = 'RUNNING', state_since = stamp, last_update = stamp,
                       num_runs = num_runs + 1
                FROM given WHERE jobs.id = given.id
                RETURNING jobs.id AS job_id, owner_id, site_id, stamp
            ), told AS (
                INSERT INTO events (owner_id, site_id, job_id, timestamp, received, entered,
                                    from_state, to_state, data)
                SELECT owner_id, site_id, job_id, stamp, stamp, stamp, 'PREPROCESSED', 'RUNNING', %(data)s
                FROM changed RETURNING id, job_id
            )
            INSERT INTO runs (owner_id, site_id, job_id, attempt, session_id, nodes, cpus, gpus, num_nodes,
                              start, start_event_id)
            SELECT owner_id, site_id, job_id, 1, 1, '["localhost"]', 1, 0, 1, stamp, told.id
            FROM changed JOIN told USING (job_id)""",
            {"ids": ids, "stamps": ids, "data": RUN_DATA},
        )

    def _end(self, ids: list[int]) -> None:
        self._conn.execute(
            """
            WITH given AS (SELECT unnest(%(ids)s::bigint[]) AS id, unnest(%(stamps)s::bigint[]) AS stamp),
            changed AS (
                UPDATE jobs SET state = 'JOB_FINISHED', state_since = stamp, last_update = stamp,
                       session_id = NULL, return_code = 0
                FROM given WHERE jobs.id = given.id
                RETURNING jobs.id AS job_id, owner_id, site_id, stamp
            ), told AS (
                INSERT INTO events (owner_id, site_id, job_id, timestamp, received, entered,
                                    from_state, to_state, data)
                SELECT owner_id, site_id, job_id, stamp, stamp, stamp, old, new, data
                FROM changed, (VALUES ('RUNNING', 'RUN_DONE', '{"returncode": 0}'::jsonb),
                                      ('RUN_DONE', 'JOB_FINISHED', '{"message": "Skipped stage out"}'))
                              AS step (old, new, data)
                RETURNING id, job_id, timestamp, to_state
            )
            UPDATE runs SET "end" = told.timestamp, end_state = 'RUN_DONE', return_code = 0,
                   end_event_id = told.id
            FROM told
            WHERE told.to_state = 'RUN_DONE' AND runs.job_id = told.job_id AND runs."end" IS NULL""",
            {"ids": ids, "stamps": ids},
        )


class SqliteAlone(Alone):
    """`executemany` in one transaction."""

    def _rows(self, table: str, where: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._source.execute(f"SELECT * FROM {table} WHERE {where}").fetchall()
        return found

    def _insert(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        statements = [
            (f"INSERT INTO {table} VALUES ({', '.join('?' * len(some[0]))})", some)
            for table, some in rows.items()
        ]
        self._transaction(statements)

    def _tidy_up(self) -> None:
        self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _claim(self) -> list[int]:
        runnable = RUNNABLE.format(site_id=self._site_id, limit=bulk.ACQUIRED_AT_ONCE)
        rows = self._conn.execute(
            f"UPDATE jobs SET session_id = 1 WHERE id IN ({runnable}) RETURNING *"
        ).fetchall()
        return [row[0] for row in rows]

    def _start(self, ids: list[int]) -> None:
        owner, first = self._owner_and_next_event()
        event = (
            "INSERT INTO events (id, owner_id, site_id, job_id, timestamp, received, entered, from_state,"
            " to_state, data) VALUES (?, ?, ?, ?, ?, ?, ?, 'PREPROCESSED', 'RUNNING', ?)"
        )
        run = (
            "INSERT INTO runs (owner_id, site_id, job_id, attempt, session_id, nodes, cpus, gpus, num_nodes,"
            " start, start_event_id) VALUES (?, ?, ?, 1, 1, '[\"localhost\"]', 1, 0, 1, ?, ?)"
        )
        job = (
            "UPDATE jobs SET state = 'RUNNING', state_since = ?, last_update = ?, num_runs = num_runs + 1"
            " WHERE id = ?"
        )
        site = self._site_id
        events = [(first + n, owner, site, i, i, i, i, RUN_DATA) for n, i in enumerate(ids)]
        runs = [(owner, site, i, i, first + n) for n, i in enumerate(ids)]
        self._transaction([(job, [(i, i, i) for i in ids]), (event, events), (run, runs)])

    def _end(self, ids: list[int]) -> None:
        owner, first = self._owner_and_next_event()
        event = (
            "INSERT INTO events (id, owner_id, site_id, job_id, timestamp, received, entered, from_state,"
            " to_state, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        run = (
            "UPDATE runs SET \"end\" = ?, end_state = 'RUN_DONE', return_code = 0, end_event_id = ?"
            ' WHERE job_id = ? AND "end" IS NULL'
        )
        job = (
            "UPDATE jobs SET state = 'JOB_FINISHED', state_since = ?, last_update = ?, session_id = NULL,"
            " return_code = 0 WHERE id = ?"
        )
        steps = [
            ("RUNNING", "RUN_DONE", '{"returncode": 0}'),
            ("RUN_DONE", "JOB_FINISHED", '{"message": "Skipped stage out"}'),
        ]
        site = self._site_id
        events = [
            (first + 2 * n + k, owner, site, i, i, i, i, *step)
            for n, i in enumerate(ids)
            for k, step in enumerate(steps)
        ]
        runs = [(i, first + 2 * n, i) for n, i in enumerate(ids)]
        self._transaction([(job, [(i, i, i) for i in ids]), (event, events), (run, runs)])

    def _owner_and_next_event(self) -> tuple[int, int]:
        [[owner]] = self._conn.execute("SELECT owner_id FROM sites WHERE id = ?", [self._site_id]).fetchall()
        [[last]] = self._conn.execute("SELECT max(id) FROM events").fetchall()
        return owner, last + 1

    def _transaction(self, statements: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> None:
        conn: sqlite3.Connection = self._conn
        conn.execute("BEGIN IMMEDIATE")
        for statement, rows in statements:
            conn.executemany(statement, rows)
        conn.execute("COMMIT")


_ALONE: dict[str, type[Alone]] = {serving.SQLITE: SqliteAlone, serving.POSTGRESQL: PostgresqlAlone}
