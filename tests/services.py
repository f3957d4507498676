"""Starts the services that tests need, on free ports, and stops them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn
import yaml

from balsam.client.transport import Client
from balsam.server import daemon
from balsam.server.app import build
from balsam.server.context import Server
from balsam.server.settings import ServerSettings
from tests.waiting import wait_until

_numbers = itertools.count(1)


def free_port() -> int:
    """None that the system gives to outgoing connections: one could take it before its server does."""
    return daemon.free_port()


@dataclass(frozen=True)
class User:
    name: str
    password: str
    token: str
    client: Client


class PasswordServer:
    """The application under uvicorn in a thread of this process."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        made = ServerSettings(f"sqlite:///{folder / 'balsam.db'}", beat_sec=1.0)
        self.settings = replace(made, **settings)
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        app = build(self.settings)
        self.server: Server = app.state.server
        port = int(self.url.rpartition(":")[2])
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)
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

    def new_user(self) -> User:
        name, password = f"user{next(_numbers)}-{os.getpid()}", "a good password"
        body = {"username": name, "password": password}
        httpx.post(f"{self.url}/auth/password/register", json=body).raise_for_status()
        token = httpx.post(f"{self.url}/auth/password/login", data=body).json()["access_token"]
        return User(name, password, token, Client(self.url, token, retry_sec=5.0))


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
            wait_until(self._answers, timeout=30, on_timeout=(self.data / "server.log").read_text)
        except BaseException:
            self.kill()  # else its end would be held against some later test
            raise

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1.0).status_code == 200
        except httpx.TransportError:
            return False

    def client(self) -> Client:
        token = yaml.safe_load(self.login.read_text())["token"]
        return Client(self.url, token, retry_sec=5.0)

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
