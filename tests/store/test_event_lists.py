"""Pages and counts of events are what a plain look at all of them gives, whichever way they are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from balsam.store import event_lists, migrate
from balsam.store.column_pages import as_columns
from balsam.store.database import Database
from balsam.store.event_lists import Effort
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page, next_cursor
from balsam.store.tables import events, jobs, sites
from tests.analytics.histories import LAST, History, histories, others, us, write, written

Row = dict[str, Any]
quickly = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
STATES = ("STAGED_IN", "RUNNING", "RUN_ERROR", "FAILED", "RESTART_READY")
# All jobs are few; none are, and what is near is enough; none are, and it never is.
EFFORTS = (Effort(), Effort(few_jobs=0, walk=1_000), Effort(few_jobs=1, walk=1, walk_for_each=1))


@pytest.fixture(scope="module")
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(new_database())
    migrate.upgrade(database)
    write(database, others())
    yield database
    database.close()


seconds = st.none() | st.integers(0, LAST).map(us)
some_states = st.none() | st.lists(st.sampled_from(STATES), min_size=1, max_size=2)
filters = st.fixed_dictionaries(
    {
        "tags": st.none() | st.dictionaries(st.sampled_from(["size", "kind"]), st.sampled_from(["1", "x"])),
        "from_state": some_states,
        "to_state": some_states,
        "timestamp_after": seconds,
        "timestamp_before": seconds,
        "site": st.none() | st.sampled_from(["lab", "peak"]),
    }
)


def _plainly(conn: Connection, owner: Owner, f: EventFilter, descending: bool) -> list[Row]:
    tags = {row.id: row.tags for row in conn.execute(select(jobs).where(jobs.c.owner_id == owner.user_id))}
    rows = [
        dict(row._mapping)
        for row in conn.execute(select(events).where(events.c.owner_id == owner.user_id))
        if all(tags[row.job_id].get(key) == value for key, value in (f.tags or {}).items())
        if f.from_state is None or row.from_state in f.from_state
        if f.to_state is None or row.to_state in f.to_state
        if f.timestamp_after is None or row.timestamp >= f.timestamp_after
        if f.timestamp_before is None or row.timestamp <= f.timestamp_before
        if f.site_id is None or row.site_id in f.site_id
    ]
    return sorted(rows, key=lambda row: (row["timestamp"], row["id"]), reverse=descending)


def _chosen(conn: Connection, owner: Owner, asked: dict[str, Any]) -> EventFilter:
    site = asked.pop("site")
    if site is not None:
        mine = select(sites.c.id).where(sites.c.owner_id == owner.user_id, sites.c.name == site)
        asked["site_id"] = list(conn.execute(mine).scalars())
    return EventFilter(**asked)


def _paged(conn: Connection, owner: Owner, f: EventFilter, page: Page, effort: Effort) -> list[Row]:
    """All pages, each behind the one before."""
    found: list[Row] = []
    while True:
        rows = event_lists.page(conn, owner, f, page, effort)
        found += rows
        after = next_cursor(rows, page)
        if after is None:
            return found
        page = Page(page.limit, 0, page.order, after)


@quickly
@given(history=histories(), asked=filters, effort=st.sampled_from(EFFORTS), limit=st.integers(1, 4))
@pytest.mark.parametrize("order", ["timestamp", "-timestamp"])
def test_pages_and_counts_are_those_of_a_plain_look(
    db: Database, history: History, asked: dict[str, Any], effort: Effort, limit: int, order: str
) -> None:
    with written(db, history) as (conn, owner):
        f = _chosen(conn, owner, dict(asked))
        expected = _plainly(conn, owner, f, order.startswith("-"))
        assert _paged(conn, owner, f, Page(limit, 0, order), effort) == expected
        assert event_lists.page(conn, owner, f, Page(limit, 1, order), effort) == expected[1 : limit + 1]
        assert event_lists.count(conn, owner, f, effort=effort) == len(expected)
        assert event_lists.count(conn, owner, f, limit, effort) == min(len(expected), limit + 1)


@quickly
@given(history=histories(), asked=filters, effort=st.sampled_from(EFFORTS))
def test_columns_are_the_rows_on_their_side(
    db: Database, history: History, asked: dict[str, Any], effort: Effort
) -> None:
    names = ["to_state", "data", "batch_job_id", "timestamp"]
    with written(db, history) as (conn, owner):
        f = _chosen(conn, owner, dict(asked))
        page = Page(7, 0, "-timestamp")
        rows = event_lists.page(conn, owner, f, page, effort)
        found = event_lists.page_by(as_columns(names, "timestamp"), conn, owner, f, page, effort)
        assert len(found) == len(rows)
        assert {name: orjson.loads(text) for name, text in found.texts.items()} == {
            name: [row[name] for row in rows] for name in names
        }
        assert not rows or found.last == {name: rows[-1][name] for name in ("timestamp", "id")}
