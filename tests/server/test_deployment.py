"""A deployed server as real processes: workers, their replacement, what is refused."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from balsam.client.errors import ClientError
from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.core.errors import BalsamError, InvalidSettings, WrongSchema
from balsam.server import daemon, deployment
from balsam.server.deployed import listening
from balsam.server.settings import ServerSettings
from tests import asking
from tests.server.lab import Lab
from tests.server.test_operations import samples
from tests.services import DeployedServer, EmbeddedServer
from tests.waiting import wait_until

NewDatabase = Callable[[], str]


@pytest.fixture(scope="module")
def deployed(
    engine: str, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DeployedServer]:
    """Two workers where the engine allows it."""
    workers = 1 if engine == "sqlite" else 2
    folder = tmp_path_factory.mktemp("deployed") / "server"
    with DeployedServer(folder, new_database(), workers=workers) as server:
        yield server


def is_ready(server: DeployedServer) -> bool:
    return deployment.is_ready(server.deployed.settings)


class Load:
    """Makes and changes jobs without a pause, from threads that each have a connection of their own."""

    def __init__(self, client: Client, threads: int = 3) -> None:
        self.failures: list[Exception] = []
        self.created: list[int] = []
        self._stop = threading.Event()
        self._client = client
        self._lab = Lab(client, hooks=[])
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                [job] = self._lab.create()
                self.created.append(job)
                assert self._lab.state(job) == "PREPROCESSED"
        except (ClientError, AssertionError) as exc:
            self.failures.append(exc)

    def grows(self) -> None:
        """Returns when more jobs have been made than now."""
        before = len(self.created)
        wait_until(lambda: len(self.created) > before + 5 or self.failures, timeout=60)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self._client.close()


def test_workers_are_replaced_under_load_without_a_failing_call(deployed: DeployedServer) -> None:
    before = deployed.workers()
    load = Load(deployed.new_user().client)
    try:
        load.grows()
        for _ in range(2):
            deployment.reload(deployed.deployed)
            load.grows()
    finally:
        load.end()
    assert load.failures == []
    assert len(deployed.workers()) == len(before) and not set(before) & set(deployed.workers())


def test_an_embedded_server_is_restarted_under_load_without_a_failing_call(embedded: EmbeddedServer) -> None:
    load = Load(embedded.client(retry_sec=60.0))
    try:
        for _ in range(3):
            load.grows()
            embedded.stop()
            embedded.start()
        load.grows()
    finally:
        load.end()
    assert load.failures == []


def test_a_stream_misses_nothing_while_workers_are_replaced(deployed: DeployedServer) -> None:
    user = deployed.new_user()
    lab = Lab(user.client, hooks=[])
    heard: list[int] = []
    stop, began = threading.Event(), threading.Event()

    def listen() -> None:
        for message in follow(user.client, "/stream", {"to_state": ["PREPROCESSED"]}, stop):
            began.set()
            if message.name == "events":
                heard.extend(event["job_id"] for event in message.data)

    listener = threading.Thread(target=listen)
    listener.start()
    assert began.wait(30)
    made = lab.create()
    replacing = threading.Thread(target=deployment.reload, args=(deployed.deployed,))
    replacing.start()
    while replacing.is_alive():
        made += lab.create()
    replacing.join()
    made += lab.create()
    wait_until(lambda: len(heard) >= len(made), timeout=60)
    stop.set()
    listener.join(30)
    user.client.close()
    assert sorted(heard) == sorted(made)


def test_a_killed_worker_is_replaced(deployed: DeployedServer) -> None:
    before = deployed.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until(
        lambda: len(deployed.workers()) == len(before) and before[0] not in deployed.workers(), timeout=60
    )
    wait_until(lambda: deployment.is_ready(deployed.deployed.settings), timeout=60)


def test_metrics_are_those_of_all_workers(deployed: DeployedServer) -> None:
    def counted() -> float:
        answer = asking.get(f"{deployed.url}/metrics")  # a new connection: any worker may take it
        return samples(answer.text).get(
            "balsam_request_seconds_count method=GET route=/auth/how status=200", 0
        )

    before = counted()
    for _ in range(60):
        asking.get(f"{deployed.url}/auth/how").raise_for_status()
    assert {counted() for _ in range(10)} == {before + 60}


def test_streams_of_workers_that_are_gone_do_not_count(deployed: DeployedServer) -> None:
    user = deployed.new_user()

    def streams() -> float:
        return samples(asking.get(f"{deployed.url}/metrics").text)["balsam_streams"]

    wait_until(lambda: streams() == 0, timeout=60)
    headers = {"authorization": f"Bearer {user.token}"}
    with httpx.stream("GET", f"{deployed.url}/stream", headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: hello"
        assert streams() == 1
        for worker in deployed.workers():
            os.kill(worker, signal.SIGKILL)
    wait_until(lambda: is_ready(deployed) and streams() == 0, timeout=120, on_timeout=deployed.log)
    user.client.close()


def test_nothing_outlives_a_killed_supervisor(deployed: DeployedServer) -> None:
    processes = [psutil.Process(pid) for pid in deployed.workers()]
    os.kill(deployed.pid, signal.SIGKILL)
    wait_until(lambda: not any(process.is_running() for process in processes), timeout=60)
    deployed.up()
    assert is_ready(deployed)


def test_its_processes_show_no_database_url(deployed: DeployedServer) -> None:
    family = [psutil.Process(deployed.pid), *psutil.Process(deployed.pid).children(recursive=True)]
    assert not any("://" in word for process in family for word in process.cmdline())


def test_a_database_that_is_away_is_told_without_its_password() -> None:
    settings = ServerSettings("postgresql://balsam:s3cret@127.0.0.1:1/balsam")
    with pytest.raises(BalsamError, match=r"postgresql.*\*\*\*.*does not answer") as caught:
        deployment.require_ready(settings)
    assert "s3cret" not in str(caught.value)


def test_sqlite_with_several_workers_is_refused(tmp_path: Path) -> None:
    settings = ServerSettings(f"sqlite:///{tmp_path / 'db'}", workers=2)
    with pytest.raises(InvalidSettings, match="set workers to 1, or use PostgreSQL"):
        deployment.require_ready(settings)


def test_an_old_schema_is_refused_with_the_command(new_database: NewDatabase, tmp_path: Path) -> None:
    server = DeployedServer(tmp_path / "server", new_database())
    with pytest.raises(WrongSchema, match="balsam server migrate"):
        server.up()
    assert not daemon.status(server.folder).running


def test_deploying_again_keeps_the_settings(tmp_path: Path) -> None:
    file = deployment.create(tmp_path / "new", {}, {"port": 9000})
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_text()
    deployment.create(tmp_path / "new", {}, {})
    assert file.read_text() == text
    deployment.create(tmp_path / "new", {}, {"port": 9001})
    assert "port: 9001" in file.read_text() and "workers: 1" in file.read_text(), "it has not run yet"
    daemon.note_process(tmp_path / "new", 9001, 1)
    deployment.create(tmp_path / "new", {}, {"port": 9001})
    with pytest.raises(BalsamError, match="change port there"):
        deployment.create(tmp_path / "new", {}, {"port": 9002})
    with pytest.raises(BalsamError, match="change database_url there"):
        deployment.create(tmp_path / "new", {"BALSAM_DATABASE_URL": "postgresql://elsewhere/x"}, {})


def test_accepted_connections_send_without_waiting_for_company() -> None:
    with (
        listening("127.0.0.1", 0) as shared,
        socket.create_connection(shared.getsockname()),
        shared.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
