"""A site per test, on the shared server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launcher.pilot import Pilot
from tests.services import EmbeddedServer, PasswordServer, User


@pytest.fixture
def pilot(tmp_path: Path, new_user: Callable[[], User]) -> Iterator[Pilot]:
    """A site of a new user on the shared server, which has leases of 60 s."""
    pilot = Pilot(tmp_path / "site", new_user().client)
    yield pilot
    pilot.end()


@pytest.fixture(scope="session")
def engine() -> str:
    """A launcher only sees HTTP: the tests of the server show that both engines answer alike."""
    return "sqlite"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, password_server: PasswordServer) -> Iterator[Pilot]:
    """A site with one launcher that runs all the time, for all tests of a module."""
    with password_server.new_user().client as client:
        pilot = Pilot(tmp_path_factory.mktemp("running") / "site", client)
        pilot.launch()
        yield pilot
        pilot.end()


@pytest.fixture(scope="session")
def short_leases(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """A server with leases of 4 s, for all tests of a worker."""
    with PasswordServer(new_database(), lease_sec=4.0) as server:
        yield server


@pytest.fixture
def brief(tmp_path: Path, short_leases: PasswordServer) -> Iterator[Pilot]:
    """A site of a new user, whose launchers have leases of 4 s."""
    with short_leases.new_user().client as client:
        pilot = Pilot(tmp_path / "site", client)
        yield pilot
        pilot.end()


@pytest.fixture
def own_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server of its own that a test may kill, with leases of 4 s or of what the test sets."""
    server = EmbeddedServer(tmp_path / "server", lease_sec=getattr(request, "param", 4.0))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_pilot(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[Pilot]:
    with own_server.client() as client:
        pilot = Pilot(tmp_path / "own-site", client)
        yield pilot
        pilot.end()
