"""A user with an embedded server of their own, and the command line called in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from balsam.cli.main import run
from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.sdk.context import use_client
from balsam.server import daemon

# A `balsam` that SIGINT ends as it does in a terminal, also below a shell that has it ignored.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from balsam.cli.main import main; main()",
]


@pytest.fixture(scope="session")
def engine() -> str:
    """A command only sees HTTP: the tests of the server show that both engines answer alike."""
    return "sqlite"


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str


class Balsam(Protocol):
    def __call__(self, *words: object) -> Outcome: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of a user who has no login; the working directory is in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("BALSAM_CLIENT_PATH", "BALSAM_SITE_PATH", "BALSAM_CLI_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def balsam(home: Path, capfd: pytest.CaptureFixture[str]) -> Balsam:
    """Runs a `balsam` command without a terminal."""

    def call(*words: object) -> Outcome:
        capfd.readouterr()
        mask = os.umask(0o022)  # some commands change it, as they may in a process of their own
        try:
            status = run([str(word) for word in words], show_traceback=False)
        finally:
            os.umask(mask)
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return call


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemon.ServerStatus]:
    """An embedded server that all tests of this process share."""
    data = tmp_path_factory.mktemp("balsam-server")
    status = daemon.start(data).status
    yield status
    daemon.stop(data)


@pytest.fixture
def client(server: daemon.ServerStatus, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The server's owner, logged in from an empty home; what they had on the server is gone."""
    monkeypatch.setenv("BALSAM_CLIENT_PATH", str(server.login))
    login = load_login(server.login)
    assert login is not None
    with login.client() as client, use_client(client):
        for site in client.get("/sites/")["results"]:
            client.delete(f"/sites/{site['id']}")
        yield client
