"""Several server processes on one PostgreSQL, here two servers in this process."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select

from balsam.client.transport import Client
from balsam.store import notices, tables
from balsam.store.database import Database
from tests.server.lab import Lab
from tests.server.listener import Listener
from tests.services import PasswordServer, PostgresServer, User
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture(scope="module")
def first(database: str) -> Iterator[PasswordServer]:
    with PasswordServer(database) as server:
        yield server


@pytest.fixture(scope="module")
def second(database: str, first: PasswordServer) -> Iterator[PasswordServer]:
    with PasswordServer(database) as server:
        yield server


@pytest.fixture
def user(first: PasswordServer) -> Iterator[User]:
    user = first.new_user()
    yield user
    user.client.close()


def test_a_change_through_one_process_reaches_a_stream_of_another(second: PasswordServer, user: User) -> None:
    lab = Lab(user.client, hooks=[])
    with Listener(second, user) as listener:
        delays = []
        for _ in range(10):
            [job] = lab.create()
            created = time.monotonic()
            assert listener.get("events").data[0]["job_id"] == job
            delays.append(time.monotonic() - created)
    assert sorted(delays)[5] < 0.1


def test_a_question_through_one_process_is_answered_through_another(
    second: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    session = lab.session()
    [job] = lab.create()
    lab.acquire(session)
    path = f"/sessions/{session}/messages"
    with Listener(second, user, session_id=session) as listener, ThreadPoolExecutor(1) as pool:
        delays = []
        for _ in range(5):
            asked = time.monotonic()
            answer = pool.submit(user.client.get, f"/jobs/{job}/tail")
            [message] = listener.get("messages").data
            with Client(second.url, user.token) as other:
                other.put(f"{path}/{message['id']}", {"answer": {"text": "from there"}})
            assert answer.result(10)["text"] == "from there"
            delays.append(time.monotonic() - asked)
    assert sorted(delays)[2] < 2.0


def test_the_connection_for_notices_notices_a_peer_that_vanished(database: str) -> None:
    db = Database(database)
    with notices.connect(db.writers) as conn:
        found = conn.info.get_parameters()
    db.close()
    assert {name: found[name] for name in notices.PATIENCE} == {
        name: str(value) for name, value in notices.PATIENCE.items()
    }


def test_a_notice_that_nobody_understands_makes_no_stream_deaf(
    database: str, second: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    db = Database(database)
    with notices.connect(db.writers) as conn:
        conn.execute("SELECT pg_notify('balsam', 'nonsense')")
    db.close()
    with Listener(second, user) as listener:
        for _ in range(3):
            [job] = lab.create()
            assert job in {event["job_id"] for event in listener.get("events", timeout=5.0).data}


def test_a_stream_skips_no_event_of_a_transaction_that_commits_late(
    database: str, second: PasswordServer, user: User
) -> None:
    """The older of two transactions commits last, and the stream reads in between."""
    lab = Lab(user.client, hooks=[])
    [job] = lab.create()
    db = Database(database)
    with Listener(second, user) as listener:
        with db.write() as older:
            one_of_job = select(tables.events).where(tables.events.c.job_id == job).limit(1)
            row = dict(older.conn.execute(one_of_job).mappings().one())
            del row["xid"], row["id"]
            older.conn.execute(insert(tables.events).values({**row, "to_state": "OLDER"}))
            older.changed(row["owner_id"], "events", row["site_id"])
            [younger] = lab.create()
            with pytest.raises(TimeoutError):
                listener.get("events", timeout=0.5)
        told = listener.events(3)
    assert [event["to_state"] for event in told] == ["OLDER", "STAGED_IN", "PREPROCESSED"]
    assert told[-1]["job_id"] == younger
    db.close()


def test_events_are_told_soon_after_a_stranger_s_older_transaction_is_rolled_back(
    database: str, first: PasswordServer, second: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    db = Database(database)
    with Listener(second, user) as listener:
        with pytest.raises(ZeroDivisionError), db.write() as older:
            older.conn.exec_driver_sql("SELECT pg_current_xact_id()")
            [job] = lab.create()
            with pytest.raises(TimeoutError):
                listener.get("events", timeout=0.3)
            _ = 1 / 0
        assert listener.get("events", timeout=2.0).data[0]["job_id"] == job
    db.close()


def test_of_two_requests_with_one_key_that_cross_one_acts(
    first: PasswordServer, second: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    job = {"workdir": "work", "app_id": lab.app["id"]}
    barrier = threading.Barrier(8)

    def create(number: int) -> list[int]:
        with Client((first, second)[number % 2].url, user.token) as client:
            barrier.wait()
            return [row["id"] for row in client.post("/jobs/", [job] * 50, key="the same")]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert len({tuple(ids) for ids in answers}) == 1
    assert user.client.get("/jobs/", {"limit": 1})["count"] == 50


def test_a_child_made_while_its_parent_finishes_is_released(
    first: PasswordServer, second: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    session = lab.session()

    def create_child(parent: int) -> int:
        with Client(second.url, user.token) as client:
            job = {"workdir": "child", "app_id": lab.app["id"], "parent_ids": [parent]}
            return int(client.post("/jobs/", [job])[0]["id"])

    with ThreadPoolExecutor(1) as pool:
        for _ in range(15):
            [parent] = lab.create()
            lab.acquire(session)
            lab.move([parent], "RUNNING", session)
            child = pool.submit(create_child, parent)
            lab.move([parent], "RUN_DONE", session)
            wait_until(lambda child=child: lab.state(child.result()) == "PREPROCESSED")  # type: ignore[misc]
            lab.client.delete(f"/jobs/{child.result()}")
