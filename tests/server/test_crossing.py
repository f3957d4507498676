"""Requests that cross on PostgreSQL: one comes while the transaction of the other is still open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import text

from balsam.client.errors import ClientError
from balsam.core.states import BatchJobState, JobState, TransferItemState
from balsam.logic import advance, batch_jobs, jobs, sessions, transfers
from balsam.schemas.batch_jobs import BatchJobUpdate
from balsam.schemas.jobs import JobCreate, JobUpdate
from balsam.schemas.sessions import SessionAcquire
from balsam.schemas.transfers import TransferItemBulkUpdate
from balsam.store import apps
from balsam.store.database import Database, Tx
from balsam.store.owner import Owner
from tests.server.lab import Lab
from tests.services import PasswordServer, PostgresServer
from tests.waiting import wait_until

T = TypeVar("T")
SLOT = {"direction": "in", "local_path": "file", "required": True}


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PasswordServer]:
    with PasswordServer(postgres.new_database()) as server:
        yield server


class Crossing:
    """A user's lab, and transactions of that user beside the server's."""

    def __init__(self, server: PasswordServer) -> None:
        self.db = Database(server.settings.database_url)
        self.client = server.new_user().client
        self.owner = Owner(int(self.client.get("/auth/password/me")["id"]))

    def run(self, first: Callable[[Tx], object], second: Callable[[], T]) -> T:
        """`second` comes when `first` has done its work, committed when `second` waits or is done."""
        with ThreadPoolExecutor(1) as pool:
            with self.db.write() as tx:
                first(tx)
                answer = pool.submit(second)
                wait_until(lambda: answer.done() or self._somebody_waits())
            return answer.result(10)

    def _somebody_waits(self) -> bool:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self.db.read() as conn:
            return conn.execute(text(waiting)).first() is not None


@pytest.fixture
def crossing(server: PasswordServer) -> Iterator[Crossing]:
    crossing = Crossing(server)
    yield crossing
    crossing.client.close()
    crossing.db.close()


def test_a_job_goes_on_when_its_last_two_files_arrive_at_once(crossing: Crossing) -> None:
    lab = Lab(crossing.client, transfers={"a": SLOT, "b": {**SLOT, "local_path": "other"}})
    file = {"location_alias": "dtn", "path": "/file"}
    [job] = lab.create(transfers={"a": file, "b": file})
    one, other = (row["id"] for row in lab.client.get("/transfers/", {"job_id": job})["results"])
    done = [TransferItemBulkUpdate(id=one, state=TransferItemState.done)]
    crossing.run(
        lambda tx: transfers.change_many(tx, crossing.owner, done),
        lambda: lab.client.put(f"/transfers/{other}", {"state": "done"}),
    )
    assert lab.state(job) == "STAGED_IN"


def test_the_wish_to_delete_an_allocation_outlives_the_agents_report(crossing: Crossing) -> None:
    lab = Lab(crossing.client)
    allocation = lab.batch_job()["id"]
    wish = BatchJobUpdate(state=BatchJobState.pending_deletion)
    crossing.run(
        lambda tx: batch_jobs.change(tx, crossing.owner, allocation, wish),
        lambda: lab.client.patch("/batch-jobs/", [{"id": allocation, "state": "running"}]),
    )
    assert lab.client.get(f"/batch-jobs/{allocation}")["state"] == "pending_deletion"


def test_a_job_that_is_made_to_wait_while_its_parent_ends_is_released(crossing: Crossing) -> None:
    lab = Lab(crossing.client, hooks=[])
    [parent] = lab.create()
    [child] = lab.create(parent_ids=[parent])
    lab.move([child], "FAILED")
    finish = [(parent, JobUpdate(state=JobState.job_finished))]
    crossing.run(
        lambda tx: advance.apply(tx, crossing.owner, finish),
        lambda: lab.move([child], "AWAITING_PARENTS"),
    )
    assert lab.state(child) == "PREPROCESSED"


def test_jobs_that_another_launcher_looked_at_and_left_are_found(crossing: Crossing) -> None:
    lab = Lab(crossing.client, hooks=[])
    made = lab.create(3)
    first, second = lab.session(), lab.session()
    narrow = SessionAcquire(max_num_jobs=10, max_aggregate_nodes=1)

    def acquire(tx: Tx) -> None:
        sessions.acquire(tx, crossing.owner, sessions.renew(tx, crossing.owner, first), narrow)

    assert crossing.run(acquire, lambda: lab.acquire(second)) == made[1:]
    assert lab.acquire(second) == []


def test_jobs_that_changed_meanwhile_are_not_changed_or_deleted_by_what_they_were(crossing: Crossing) -> None:
    lab = Lab(crossing.client, hooks=[])
    made = lab.create(2)
    lab.move(made, "FAILED")
    restart = [(made[0], JobUpdate(state=JobState.restart_ready))]
    crossing.run(
        lambda tx: advance.apply(tx, crossing.owner, restart),
        lambda: lab.client.request("DELETE", "/jobs/", params={"state": "FAILED"}),
    )
    assert [row["id"] for row in lab.client.get("/jobs/")["results"]] == made[:1]


def test_a_site_is_removed_with_what_is_being_made_at_it(crossing: Crossing) -> None:
    lab = Lab(crossing.client, hooks=[])
    values = {name: value for name, value in lab.app.items() if name != "id"} | {"name": "Late"}

    def make(tx: Tx) -> None:
        app = apps.create(tx.conn, crossing.owner, values)
        jobs.create(tx, crossing.owner, [JobCreate(workdir="w", app_id=app["id"])])

    crossing.run(make, lambda: lab.client.delete(f"/sites/{lab.site['id']}"))
    assert lab.client.get("/jobs/")["results"] == []


def test_an_app_of_which_a_job_is_made_does_not_move_to_another_site(crossing: Crossing) -> None:
    lab, elsewhere = Lab(crossing.client, hooks=[]), Lab(crossing.client, hooks=[])
    want = [JobCreate(workdir="w", app_id=lab.add_app("Other", [])["id"])]
    with pytest.raises(ClientError):
        crossing.run(
            lambda tx: jobs.create(tx, crossing.owner, want),
            lambda: lab.client.put(f"/apps/{want[0].app_id}", {"site_id": elsewhere.site["id"]}),
        )
