"""The database goes away under a running server, and returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from balsam.client.errors import ServerFault
from balsam.client.stream import follow
from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.server.test_operations import samples
from tests.services import PasswordServer, PostgresServer, User
from tests.waiting import wait_until

LEASE_SEC = 4.0


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped."""
    with PostgresServer(durable=True) as server:  # a crash forgets nothing that was answered
        yield server


@pytest.fixture
def server(mortal: PostgresServer) -> Iterator[PasswordServer]:
    with PasswordServer(mortal.new_database(), lease_sec=LEASE_SEC) as server:
        yield server


@pytest.fixture
def user(server: PasswordServer) -> Iterator[User]:
    made = server.new_user()
    yield made
    made.client.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_requests_get_a_503_with_a_sentence_until_the_database_is_back(
    server: PasswordServer, user: User, mortal: PostgresServer, mode: str
) -> None:
    lab = Lab(user.client, hooks=[])
    hasty = Client(server.url, user.token, retry_sec=0)
    mortal.stop(mode)
    for _ in range(3):
        with pytest.raises(ServerFault, match="database can't be written or read now") as caught:
            hasty.get("/jobs/")
        assert caught.value.status == 503
    assert asking.get(f"{server.url}/healthz").status_code == 200
    ready = asking.get(f"{server.url}/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "the database does not answer")
    assert samples(asking.get(f"{server.url}/metrics").text)["balsam_streams"] == 0
    mortal.start()
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: lab.create(), range(60)))
    assert len(made) == 60
    assert asking.get(f"{server.url}/readyz").status_code == 200
    wait_until(lambda: _in_use(server) <= 1)  # the one that reads this
    hasty.close()


def test_a_patient_client_notices_nothing(server: PasswordServer, user: User, mortal: PostgresServer) -> None:
    lab = Lab(Client(server.url, user.token, retry_sec=60), hooks=[])
    mortal.stop()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(lab.create)
        mortal.start()
        [job] = pending.result(timeout=60)
    assert lab.state(job) == "PREPROCESSED"
    lab.client.close()


def test_leases_count_from_the_return_of_the_database(
    server: PasswordServer, user: User, mortal: PostgresServer
) -> None:
    lab = Lab(user.client, hooks=[])
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    mortal.stop()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + LEASE_SEC + 1, timeout=LEASE_SEC + 5)
    mortal.start()
    back = time.monotonic()
    wait_until(lambda: lab.job(job)["session_id"] is None, timeout=60)
    assert time.monotonic() - back > LEASE_SEC - 0.5


def test_streams_go_on_after_the_return(server: PasswordServer, user: User, mortal: PostgresServer) -> None:
    lab = Lab(user.client, hooks=[])
    heard: list[int] = []
    stop, began = threading.Event(), threading.Event()

    def listen() -> None:
        with Client(server.url, user.token) as client:
            for message in follow(client, "/stream", {"to_state": ["PREPROCESSED"]}, stop):
                began.set()
                if message.name == "events":
                    heard.extend(event["job_id"] for event in message.data)

    listener = threading.Thread(target=listen)
    listener.start()
    assert began.wait(10)
    before = lab.create()
    mortal.stop()
    mortal.start()
    after = lab.create()
    wait_until(lambda: heard == before + after, timeout=60)
    stop.set()
    listener.join(30)


def _in_use(server: PasswordServer) -> float:
    return samples(asking.get(f"{server.url}/metrics").text)["balsam_database_connections_in_use"]
