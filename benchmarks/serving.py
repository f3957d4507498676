"""Servers to be measured, each a process of its own beside its database, as users and facilities run them."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from balsam.client.transport import Client
from balsam.server import daemon
from balsam.server.settings import ServerSettings
from tests.services import DeployedServer, PostgresServer, new_user

START_TIMEOUT_SEC = 60.0
SQLITE, POSTGRESQL = "sqlite", "postgresql"
ENGINES = (POSTGRESQL, SQLITE)
# Beside PostgreSQL's defaults, those of durability included.
POSTGRES_SETTINGS = {"shared_buffers": "1GB"}
BEAT_SEC = ServerSettings("").beat_sec  # tests are in more of a hurry


@dataclass(frozen=True)
class Serving:
    """A server that answers, with a client that is logged in."""

    engine: str
    url: str
    database_url: str
    token: str
    process: psutil.Process

    def client(self) -> Client:
        return Client(self.url, self.token, retry_sec=0.0)

    def connect(self) -> Any:
        """The driver's own connection to the database."""
        return connect(self.engine, self.database_url)

    def processes(self) -> list[psutil.Process]:
        return family(self.process)


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all below it."""
    return [process, *process.children(recursive=True)]


def cpu_sec(processes: Iterable[psutil.Process]) -> float:
    """What they, and their children that have ended, have used of the processors."""
    return sum(map(_cpu_sec, processes))


def _cpu_sec(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0  # its parent counts it by now


def connect(engine: str, database_url: str) -> Any:
    """The driver's own connection, with the durability that the server works with."""
    if engine == SQLITE:
        conn = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
            conn.execute(f"PRAGMA {pragma}")
        return conn
    return psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True)


@dataclass(frozen=True)
class Engine:
    """Where servers with databases of their own are started; all are gone at the end.

    `new_database`: the URL of an empty one. `serve`: a server on a new database.
    """

    name: str
    new_database: Callable[[], str]
    serve: Callable[[], AbstractContextManager[Serving]]
    database_pid: int | None = None

    def processes(self) -> list[psutil.Process]:
        """Those of the database, if it has any."""
        return family(psutil.Process(self.database_pid)) if self.database_pid else []


@contextmanager
def engine(name: str, folder: Path, workers: int = 1) -> Iterator[Engine]:
    """Below a folder of the benchmark; `workers`: processes of a server on PostgreSQL."""
    numbers = itertools.count(1)
    if name == SQLITE:
        yield Engine(
            name,
            lambda: f"sqlite:///{folder / f'alone-{next(numbers)}.db'}",
            lambda: embedded(folder / f"server-{next(numbers)}"),
        )
        return
    with PostgresServer(durable=True, settings=POSTGRES_SETTINGS) as postgres:
        yield Engine(
            name,
            postgres.new_database,
            lambda: facility(postgres.new_database(), folder / f"facility-{next(numbers)}", workers),
            int((postgres.data / "postmaster.pid").read_text().split()[0]),
        )


@contextmanager
def embedded(data: Path) -> Iterator[Serving]:
    """The server that serves one person from an SQLite file in `data`."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = daemon.free_port()
    command = [sys.executable, "-m", "balsam.server.main", "--data", str(data), "--port", str(port)]
    with _process(command, port, data / "server.log") as process:
        token = yaml.safe_load((data / "client.yml").read_text())["token"]
        yield Serving(SQLITE, _url(port), f"sqlite:///{data / 'balsam.db'}", token, process)


@contextmanager
def facility(database_url: str, folder: Path, workers: int) -> Iterator[Serving]:
    """A deployed server on PostgreSQL, where users register."""
    with DeployedServer(folder, database_url, workers=workers, beat_sec=BEAT_SEC) as deployed:
        token = new_user(deployed.url).token
        yield Serving(POSTGRESQL, deployed.url, database_url, token, psutil.Process(deployed.pid))


@contextmanager
def _process(command: list[str], port: int, log: Path) -> Iterator[psutil.Process]:
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_TIMEOUT_SEC
        while not daemon.answers(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _url(port: int) -> str:
    return f"http://{daemon.HOST}:{port}"
