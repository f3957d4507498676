"""A database in which a million jobs have already run: the copies of one that really did.

Rows are cloned inside the database, with its indexes dropped meanwhile: 1,000,000 jobs with 6,000,000 events
take minutes instead of hours, and look as if the server had written them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balsam.api import Session, Site
from balsam.client.transport import Client
from balsam.core.clock import now_us
from balsam.core.states import JobState
from balsam.sdk.context import use_client
from benchmarks import bulk, serving
from benchmarks.server_apps import Simulate

EVENTS_PER_JOB = 6
NUM_SITES = 10  # each holds a tenth of the jobs, one site after the other
US_PER_JOB = 60_000_000  # a job a minute: a million are two years
FIRST_ID = 1_000  # above the model's
# A tag that a tenth of the jobs has; one that a hundredth has, whatever the first says; one that a thousandth
# has, all of them with the same value of the first.
TAGS = {
    "campaign": "'c' || (n % 10)",
    "lot": "'l' || (n / 10 % 100)",
    "sample": "'s' || (n % 1000)",
}
TABLES = ("jobs", "job_tags", "events", "runs")


def value_of(tag: str, n: int) -> str:
    """What `TAGS` says of job `n`."""
    return {"campaign": f"c{n % 10}", "lot": f"l{n // 10 % 100}", "sample": f"s{n % 1000}"}[tag]


def matches(tags: dict[str, str], count: int) -> int:
    """How many of `count` jobs have all of these tags."""
    return sum(all(value_of(tag, n) == value for tag, value in tags.items()) for n in range(count))


@dataclass(frozen=True)
class Grown:
    """`quiet_site_id`: the site whose jobs are the oldest."""

    jobs: int
    quiet_site_id: int


def fill(
    server: serving.Serving,
    client: Client,
    site_id: int,
    count: int,
    differing: Mapping[str, Mapping[str, str]] | None = None,
) -> Grown:
    """Adds `count` jobs of the past to the server's database, the newest of them at the site `site_id`.

    `differing`: by table, SQL of more columns that differ from the model's; see `_clones`.
    """
    with use_client(client):
        model = _model_job(client, site_id)
        others = [Site.objects.create(name=f"site-{n}", path="/somewhere") for n in range(NUM_SITES - 1)]
    site_ids = [*(int(site.id) for site in others), site_id]
    cloner = _CLONERS[server.engine](server.connect(), count)
    cloner.prepare()
    for table, rows, values in _clones(model, site_ids, count, cloner.json_function):
        cloner.clone(table, rows, {**values, **(differing or {}).get(table, {})})
    cloner.finish()
    cloner.check({"jobs": 1, "job_tags": len(TAGS), "events": EVENTS_PER_JOB, "runs": 1})
    return Grown(count, site_ids[0])


def _model_job(client: Client, site_id: int) -> int:
    """The id of a job that waited for a parent and ran once: six events and one run."""
    parent = Simulate.submit("model/parent", steps=1, name="x")
    child = Simulate.submit("model/child", parent_ids=[parent.id], steps=1, name="x", tags={"model": "yes"})
    session = Session.objects.create(site_id, fenced=True, num_nodes=1)
    for _ in (parent, child):
        job = session.acquire_jobs(1)
        bulk.report(client, session.id, bulk.started(job))
        bulk.report(client, session.id, bulk.ended(job))
    session.delete()
    child.refresh_from_db()
    if child.state is not JobState.job_finished:
        raise SystemExit(f"the model of all jobs should have finished: it is {child.state}")
    return int(child.id)


def _clones(
    model: int, site_ids: list[int], count: int, json_function: str
) -> list[tuple[str, str, dict[str, str]]]:
    """(table, condition of the model's rows, SQL of each column that differs).

    In the SQL `n` counts the jobs from 0, and `rank` the model's rows in this table from 1.
    """
    cases = "".join(f"WHEN {place} THEN {number} " for place, number in enumerate(site_ids))
    job = f"n + {FIRST_ID}"
    stamp = f"{now_us() - (count + 1) * US_PER_JOB} + n * {US_PER_JOB}"
    event = f"{EVENTS_PER_JOB} * (n + {FIRST_ID})"
    shared = {"site_id": f"CASE n * {NUM_SITES} / {count} {cases} END", "job_id": job}
    tags = ", ".join(f"'{key}', {value}" for key, value in TAGS.items())
    jobs = shared | {
        "id": job,
        "workdir": "'study/' || n",
        "tags": f"{json_function}({tags})",
        "parent_ids": "'[]'",
        "state_since": stamp,
        "last_update": stamp,
    }
    entered = dict.fromkeys(("timestamp", "received", "entered"), f"{stamp} + rank * 1000000")
    events = shared | entered | {"id": f"{event} + rank"}
    runs = shared | {
        "id": job,
        "start": f"{stamp} + 4000000",
        "end": f"{stamp} + 5000000",
        "start_event_id": f"{event} + 4",
        "end_event_id": f"{event} + 5",
    }
    of_model = f"job_id = {model}"
    tag_rows = [("job_tags", of_model, {**shared, "key": f"'{key}'", "value": TAGS[key]}) for key in TAGS]
    return [
        ("jobs", f"id = {model}", jobs),
        *tag_rows,
        ("events", of_model, events),
        ("runs", of_model, runs),
    ]


class _Cloner(ABC):
    """Copies rows `count` times by the database's own SQL."""

    json_function: str

    def __init__(self, conn: Any, count: int) -> None:
        self._conn = conn
        self._count = count

    def clone(self, table: str, model: str, values: dict[str, str]) -> None:
        cursor = self._conn.execute(f"SELECT * FROM {table} LIMIT 0")
        columns = [column[0] for column in cursor.description]
        names = ", ".join(f'"{column}"' for column in columns)
        chosen = ", ".join(values.get(column, f'model."{column}"') for column in columns)
        # In the order of the primary key, which is the only index by now.
        order = "n, rank" if "id" in columns else f"{values['value']}, n"
        self._conn.execute(
            f"""INSERT INTO {table} ({names}) SELECT {chosen}
            FROM ({self.numbers()}) AS numbers CROSS JOIN (
                SELECT *, row_number() OVER (ORDER BY {columns[0]}) AS rank FROM {table} WHERE {model}
            ) AS model ORDER BY {order}"""
        )

    def check(self, per_job: dict[str, int]) -> None:
        for table, number in per_job.items():
            [[found]] = self._conn.execute(f"SELECT count(*) FROM {table}").fetchall()
            if not 0 <= found - number * self._count <= 2 * EVENTS_PER_JOB:  # the model and its parent
                raise SystemExit(f"{found} rows in {table} instead of {number * self._count}")
        self._conn.close()

    @abstractmethod
    def prepare(self) -> None:
        """Makes inserting fast."""

    @abstractmethod
    def numbers(self) -> str:
        """A query whose only column `n` counts from 0."""

    @abstractmethod
    def finish(self) -> None:
        """Makes the database whole again, as one that has been in use."""


class _PostgresqlCloner(_Cloner):
    json_function = "jsonb_build_object"

    def prepare(self) -> None:
        found = self._conn.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND tablename = ANY(%s) AND indexname NOT IN (SELECT conname FROM pg_constraint)",
            [list(TABLES)],
        )
        self._indexes = dict(found.fetchall())
        for name in self._indexes:
            self._conn.execute(f'DROP INDEX "{name}"')
        self._conn.execute("SET session_replication_role = replica")  # no check of each foreign key
        self._conn.execute("SET maintenance_work_mem = '512MB'")
        self._conn.execute("SET synchronous_commit = off")

    def numbers(self) -> str:
        return f"SELECT n FROM generate_series(0::bigint, {self._count - 1}) AS n"

    def finish(self) -> None:
        for definition in self._indexes.values():
            self._conn.execute(definition)
        for table in ("jobs", "events", "runs"):
            self._conn.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
        self._conn.execute("VACUUM (ANALYZE)")  # as the database itself does sooner or later
        self._conn.execute("CHECKPOINT")


class _SqliteCloner(_Cloner):
    json_function = "json_object"

    def prepare(self) -> None:
        found = self._conn.execute(
            "SELECT name, sql FROM sqlite_master"
            f" WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN {TABLES}"
        )
        self._indexes = dict(found.fetchall())
        for name in self._indexes:
            self._conn.execute(f'DROP INDEX "{name}"')
        self._conn.execute("PRAGMA foreign_keys = OFF")
        self._conn.execute("PRAGMA synchronous = OFF")

    def numbers(self) -> str:
        counting = f"SELECT 0 UNION ALL SELECT n + 1 FROM counter LIMIT {self._count}"
        return f"WITH RECURSIVE counter (n) AS ({counting}) SELECT n FROM counter"

    def finish(self) -> None:
        for definition in self._indexes.values():
            self._conn.execute(definition)
        self._conn.execute("PRAGMA synchronous = FULL")
        self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


_CLONERS: dict[str, type[_Cloner]] = {
    serving.SQLITE: _SqliteCloner,
    serving.POSTGRESQL: _PostgresqlCloner,
}
