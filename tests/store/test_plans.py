"""Which index each hot statement goes through, as SQLite's planner says it without statistics."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from balsam.core.states import RUNNABLE_STATES, JobState
from balsam.store import (
    alert_rules,
    batch_jobs,
    deliveries,
    event_lists,
    events,
    figures,
    jobs,
    migrate,
    sessions,
    symptoms,
    traces,
    users,
)
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.database import Database
from balsam.store.events import EventFilter, Position
from balsam.store.figures import Unit
from balsam.store.jobs import Acquisition, JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page, encode_cursor
from balsam.store.scope import Scope
from balsam.store.traces import Attempts

USER = Owner(1)
SITE = Owner(1, 1)
WANT = Acquisition(site_id=1, states=RUNNABLE_STATES, max_num_jobs=10, tags={"a": "b"})
Statement = Callable[[Connection, Owner], Any]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder: Path = tmp_path_factory.mktemp("plans")
    database = Database(f"sqlite:///{folder / 'balsam.db'}")
    migrate.upgrade(database)
    with database.write() as tx:
        users.create(tx.conn, "somebody", None)
    yield database
    database.close()


def plan(db: Database, statement: Statement, owner: Owner) -> str:
    """The planner's lines for every SELECT that the statement sends."""
    sent: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, sql: str, parameters: Any, *_rest: Any) -> None:
        sent.append((sql, parameters))

    event.listen(db.readers, "before_cursor_execute", note)
    try:
        with db.read() as conn:
            statement(conn, owner)
    finally:
        event.remove(db.readers, "before_cursor_execute", note)
    lines = []
    with db.read() as conn:
        for sql, parameters in sent:
            if sql.lstrip().startswith("SELECT"):
                lines += [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    return "\n".join(lines)


def scope(conn: Connection, owner: Owner, **filters: Any) -> Scope:
    return Scope.of(conn, owner, EventFilter(**filters), now=0)


HOT: dict[str, tuple[Statement, str]] = {
    "what a stream reads": (
        lambda conn, owner: events.after(conn, owner, Position(0, 5), EventFilter(to_state=["RUNNING"]), 10),
        "ix_events_owner_id_id (owner_id=? AND id>?)",
    ),
    "what a stream with filters reads": (
        lambda conn, owner: events.after(
            conn,
            owner,
            Position(0, 5),
            EventFilter(
                from_state=["RESTART_READY"], site_id=[1], tags={"a": "b"}, timestamp_after=5, job_id=[3]
            ),
            10,
        ),
        "ix_events_owner_id_id (owner_id=? AND id>?)",
    ),
    "events of a site": (
        lambda conn, owner: event_lists.page(
            conn, owner, EventFilter(site_id=[1]), Page(limit=10, order="-timestamp")
        ),
        "ix_events_site_id_timestamp (site_id=?)",
    ),
    "events behind a cursor": (
        lambda conn, owner: event_lists.page(
            conn, owner, EventFilter(), Page(10, 0, "-timestamp", encode_cursor(5, 7))
        ),
        "ix_events_owner_id_timestamp (owner_id=? AND timestamp<?)",
    ),
    "the jobs of a session": (lambda conn, owner: jobs.held(conn, owner, 7), "ix_jobs_session_id"),
    "the newest jobs": (
        lambda conn, owner: jobs.page(conn, owner, JobFilter(), Page(limit=10, order="-id")),
        "ix_jobs_owner_id_id",
    ),
    "jobs by tag": (
        lambda conn, owner: jobs.page(conn, owner, JobFilter(tags={"a": "b"}), Page(limit=10)),
        "job_tags",
    ),
    "jobs by two tags": (
        lambda conn, owner: jobs.count(conn, owner, JobFilter(tags={"a": "b", "c": "d"})),
        "CORRELATED SCALAR SUBQUERY",
    ),
    "jobs by id": (lambda conn, owner: jobs.by_ids(conn, owner, [1, 2, 3]), "INTEGER PRIMARY KEY"),
    "states of parents": (
        lambda conn, owner: jobs.parent_states(conn, owner, [1, 2]),
        "INTEGER PRIMARY KEY",
    ),
    "children that wait": (
        lambda conn, owner: jobs.waiting_children(conn, owner, [1, 2]),
        "INTEGER PRIMARY KEY",
    ),
    "jobs to be acquired": (
        lambda conn, owner: jobs.acquirable(conn, owner, WANT, JobState.preprocessed),
        "ix_jobs_acquire",
    ),
    "events of a BatchJob": (
        lambda conn, owner: event_lists.page(conn, owner, EventFilter(batch_job_id=[1]), Page(limit=10)),
        "ix_events_batch_job_id_timestamp",
    ),
    "events of a job": (
        lambda conn, owner: event_lists.page(conn, owner, EventFilter(job_id=[1]), Page(limit=10)),
        "ix_events_job_id",
    ),
    "runs of a BatchJob": (
        lambda conn, owner: figures.spans(conn, scope(conn, owner, batch_job_id=[1]), None, Unit.node),
        "ix_runs_batch_job_id_attempt",
    ),
    "runs that a tag's jobs had": (
        lambda conn, owner: figures.spans(conn, scope(conn, owner, tags={"a": "b"}), None, Unit.node),
        "ix_runs_job_id",
    ),
    "entries to a state": (
        lambda conn, owner: figures.entries(conn, scope(conn, owner), None, "RUNNING"),
        "ix_events_owner_id_to_state_timestamp",
    ),
    "attempts, by start": (
        lambda conn, owner: traces.trace(conn, scope(conn, owner), Attempts(None, "start", 10, None, 0)),
        "ix_runs_owner_id_start",
    ),
    "BatchJobs of a site": (
        lambda conn, owner: batch_jobs.page(
            conn, owner, BatchJobFilter(site_id=[1], state=["queued"]), Page(limit=10)
        ),
        "batch_jobs",
    ),
    "how jobs ended lately": (
        lambda conn, owner: symptoms.ended(conn, owner, 5, [1], {"a": "b"}),
        "ix_events_owner_id_to_state_timestamp",
    ),
    "what started lately": (
        lambda conn, owner: symptoms.newest_starts(conn, owner, 5),
        "ix_runs_owner_id_start",
    ),
    "whether a job waits at a site": (
        lambda conn, owner: symptoms.waiting_job(conn, owner, 1),
        "ix_jobs_acquire",
    ),
    "launchers and their runs": (
        lambda conn, owner: symptoms.launchers(conn, owner),
        "ix_sessions_owner_id",
    ),
    "when an agent was heard of": (
        lambda conn, owner: sessions.agent_seen(conn, owner, 1),
        "ix_sessions_site_id",
    ),
}


@pytest.mark.parametrize("owner", [USER, SITE], ids=["user", "site token"])
@pytest.mark.parametrize("name", HOT)
def test_hot_statements_search_and_never_scan(db: Database, name: str, owner: Owner) -> None:
    statement, index = HOT[name]
    found = plan(db, statement, owner)
    assert index in found, found
    harmless = ("SUBQUERY", "sqlite_sequence", "json_each", "anon_1")
    lines = [line for line in found.splitlines() if not any(name in line for name in harmless)]
    scans = [line for line in lines if line.startswith("SCAN")]
    assert scans == [], found


@pytest.mark.parametrize("name", ["the newest jobs", "jobs to be acquired", "what a stream reads"])
def test_the_index_gives_the_order_of_what_is_asked_for_most(db: Database, name: str) -> None:
    assert "TEMP B-TREE" not in plan(db, HOT[name][0], SITE)


NO_OWNER: dict[str, tuple[Statement, str]] = {
    "the next rule": (lambda conn, _: alert_rules.next_due(conn), "ix_alert_rules_due"),
    "the next message": (lambda conn, _: deliveries.next_try(conn), "ix_alert_deliveries_unsent"),
    "messages that are due": (
        lambda conn, _: deliveries.due(conn, 5, 10),
        "ix_alert_deliveries_next_try (next_try<?)",
    ),
}


@pytest.mark.parametrize("name", NO_OWNER)
def test_an_idle_server_looks_for_alerts_through_small_indexes(db: Database, name: str) -> None:
    statement, index = NO_OWNER[name]
    assert index in plan(db, statement, USER)
