"""Retention: what ended long ago goes, what unfinished jobs need stays, and totals tell what was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select, update

from balsam.analytics import totals
from balsam.client.transport import Client
from balsam.core.clock import from_us, now_us
from balsam.core.limits import MAX_ID
from balsam.logic import pruning
from balsam.logic.pruning import Pruned, prune
from balsam.schemas.totals import TotalOut
from balsam.store.database import Database
from balsam.store.tables import batch_jobs, events, job_parents, job_tags, jobs, runs, sessions, transfers
from balsam.store.tables import totals as kept
from tests.server.lab import Lab
from tests.services import PasswordServer, User

DAY_US = 86_400_000_000
CUTOFF_DAYS = 90
KEYS = ("site_id", "app_id", "day", "state")


@pytest.fixture
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """One for each test: pruning goes through what all users have."""
    with PasswordServer(new_database()) as started:
        yield started


@pytest.fixture
def db(server: PasswordServer) -> Database:
    return server.server.db


@pytest.fixture
def user(server: PasswordServer) -> Iterator[User]:
    with server.new_user().client as client:
        yield User("", "", "", client)


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


def cutoff() -> int:
    return now_us() - CUTOFF_DAYS * DAY_US


def finished(lab: Lab, count: int, days: int, **values: Any) -> list[int]:
    """Jobs that ran and ended so many days ago."""
    made = lab.create(count, **values)
    session = lab.session()
    assert len(lab.acquire(session, 2_000)) >= count
    lab.run(session, made)
    lab.client.delete(f"/sessions/{session}")
    ended = lab.client.get("/jobs/", {"state": "JOB_FINISHED", "count": "no"})["results"]
    assert {job["id"] for job in ended} >= set(made)
    return made


def age(db: Database, job_ids: Collection[int], days: int) -> None:
    """As if all that these jobs have seen had been so long ago."""
    past = days * DAY_US
    with db.write() as tx:
        for table, key, names in (
            (jobs, jobs.c.id, ("state_since", "last_update")),
            (events, events.c.job_id, ("timestamp", "received", "entered")),
            (runs, runs.c.job_id, ("start", "end")),
        ):
            moved = {name: table.c[name] - past for name in names}
            tx.conn.execute(update(table).where(key.in_(job_ids)).values(moved))


def rows_of(db: Database, job_ids: Collection[int]) -> int:
    """In all tables."""
    keys = (jobs.c.id, *(table.c.job_id for table in (events, runs, transfers, job_tags, job_parents)))
    with db.read() as conn:
        return sum(conn.execute(select(func.count()).where(key.in_(job_ids))).scalar_one() for key in keys)


def told(client: Client, *by: str, **window: Any) -> list[dict[str, Any]]:
    rows = [row.model_dump() for row in totals(*by, client=client, **window)]
    return [{**row, "node_hours": pytest.approx(row["node_hours"])} for row in rows]


def test_old_jobs_go_with_all_that_is_kept_of_them_and_totals_stay(db: Database, lab: Lab) -> None:
    old = finished(lab, 3, CUTOFF_DAYS, tags={"a": "b"})
    children = finished(lab, 1, CUTOFF_DAYS, parent_ids=old)
    failed = lab.create(1)
    lab.move(failed, "FAILED", state_data={"message": "no"})
    age(db, [*old, *children, *failed], CUTOFF_DAYS + 1)
    young = finished(lab, 2, 0)
    waiting = lab.create(1)
    age(db, waiting, CUTOFF_DAYS + 1)
    before = [told(lab.client, *by) for by in ((), ("state",), KEYS, ("day",))]
    gone = [*old, *children, *failed]
    with db.read() as conn:
        per_job = select(func.count()).where(events.c.job_id.in_(gone))
        num_events = conn.execute(per_job).scalar_one()
    expected = Pruned(jobs=5, events=num_events, runs=4, kept=0)
    assert prune(db, cutoff(), dry_run=True) == expected
    assert rows_of(db, gone) > 0
    assert prune(db, cutoff()) == expected
    assert rows_of(db, gone) == 0
    assert sorted(job["id"] for job in lab.client.get("/jobs/")["results"]) == [*young, *waiting]
    assert [told(lab.client, *by) for by in ((), ("state",), KEYS, ("day",))] == before
    assert prune(db, cutoff()) == Pruned()


def test_totals_say_what_happened(db: Database, lab: Lab) -> None:
    old = finished(lab, 2, CUTOFF_DAYS)
    age(db, old, CUTOFF_DAYS + 1)
    with db.write() as tx:
        ten_hours = runs.c.start + 10 * 3_600_000_000
        tx.conn.execute(update(runs).where(runs.c.job_id.in_(old)).values(end=ten_hours, num_nodes=0.5))
    with db.read() as conn:
        ends = conn.execute(select(runs.c.end).where(runs.c.job_id.in_(old))).scalars().all()
    prune(db, cutoff())
    young = finished(lab, 1, 0)
    by_state = {row.state: row for row in totals("state", client=lab.client)}
    assert (by_state["JOB_FINISHED"].jobs, by_state["JOB_FINISHED"].events) == (3, 3)
    assert (by_state["RUN_DONE"].runs, by_state["RUN_DONE"].jobs) == (3, 0)
    assert by_state["RUN_DONE"].node_hours == pytest.approx(2 * 10 * 0.5, abs=0.01)
    day = date.fromordinal(date(1970, 1, 1).toordinal() + ends[0] // DAY_US)
    [row] = [
        row for row in totals("day", "state", client=lab.client) if (row.day, row.state) == (day, "RUN_DONE")
    ]
    assert (row.runs, row.site_id) == (2, None)
    assert totals(client=lab.client, site_id=[lab.site["id"]])[0].jobs == 3
    assert totals(client=lab.client, app_id=MAX_ID) == []
    assert totals(client=lab.client, timestamp_after=from_us(now_us()))[0].jobs == len(young)
    with pytest.raises(ValueError, match="owner"):
        totals("owner", client=lab.client)
    assert isinstance(row, TotalOut)


def test_what_unfinished_jobs_wait_for_stays(db: Database, lab: Lab) -> None:
    parents = finished(lab, 2, CUTOFF_DAYS)
    others = lab.create(1)
    [child] = lab.create(1, parent_ids=[parents[0], *others])
    assert lab.state(child) == "AWAITING_PARENTS"
    age(db, [*parents, child], CUTOFF_DAYS + 1)
    assert prune(db, cutoff(), dry_run=True) == Pruned(jobs=1, events=5, runs=1, kept=1)
    assert prune(db, cutoff()) == Pruned(jobs=1, events=5, runs=1, kept=1)
    assert rows_of(db, [parents[0]]) > 0 and rows_of(db, [parents[1]]) == 0
    session = lab.session()
    lab.acquire(session)
    lab.run(session, others)
    assert lab.state(child) != "AWAITING_PARENTS"


def test_jobs_that_were_changed_since_stay(db: Database, lab: Lab) -> None:
    old = finished(lab, 2, CUTOFF_DAYS)
    age(db, old, CUTOFF_DAYS + 1)
    lab.client.patch("/jobs/", [{"id": old[0], "tags": {"keep": "yes"}}])
    assert prune(db, cutoff()).jobs == 1
    assert lab.job(old[0])["tags"] == {"keep": "yes"}


def test_nobody_sees_the_totals_of_others_and_they_go_with_their_site(
    db: Database, lab: Lab, server: PasswordServer
) -> None:
    stranger = Lab(server.new_user().client, hooks=[])
    for one in (lab, stranger):
        age(db, finished(one, 1, CUTOFF_DAYS), CUTOFF_DAYS + 1)
    assert prune(db, cutoff()).jobs == 2
    for one in (lab, stranger):
        assert {row.site_id for row in totals("site_id", client=one.client)} == {one.site["id"]}
    lab.client.delete(f"/sites/{lab.site['id']}")
    assert totals(client=lab.client) == []
    with db.read() as conn:
        assert conn.execute(select(kept).where(kept.c.site_id == lab.site["id"])).all() == []
    assert totals(client=stranger.client)[0].jobs == 1
    stranger.client.close()


def test_allocations_and_leases_stay(db: Database, lab: Lab) -> None:
    allocation = lab.batch_job()["id"]
    age(db, finished(lab, 1, CUTOFF_DAYS), CUTOFF_DAYS + 1)
    with db.read() as conn:
        before = conn.execute(select(func.count()).select_from(sessions)).scalar_one()
    assert prune(db, cutoff()).jobs == 1
    with db.read() as conn:
        assert conn.execute(select(func.count()).select_from(sessions)).scalar_one() == before
        assert conn.execute(select(batch_jobs.c.id).where(batch_jobs.c.id == allocation)).first()


def test_others_write_while_much_is_removed(db: Database, lab: Lab) -> None:
    count = 3 * pruning.BATCH + 7
    old = finished(lab, count, CUTOFF_DAYS)
    age_in_parts(db, old)
    done = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not done.is_set():
            written.extend(lab.create(1))

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[tuple[int, int]] = []
    gone = prune(db, cutoff(), on_batch=lambda pruned: seen.append((pruned.jobs, len(written))))
    done.set()
    writer.join()
    assert gone.jobs == count and [jobs_gone for jobs_gone, _ in seen] == [500, 1000, 1500, count]
    assert seen[-1][1] > seen[0][1], "somebody wrote between the first and the last transaction"
    assert rows_of(db, old[:500]) == 0


def age_in_parts(db: Database, job_ids: list[int]) -> None:
    for start in range(0, len(job_ids), 500):
        age(db, job_ids[start : start + 500], CUTOFF_DAYS + 1)
