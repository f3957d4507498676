"""Shared fixtures: `tests/services.py` starts each service, these hand it to the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from balsam.client.transport import Client
from tests.regions import spread
from tests.services import EmbeddedServer, PasswordServer, PostgresServer, User

# How long one example takes says more of what else this machine does than of the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _regions(tmp_path_factory: pytest.TempPathFactory) -> None:
    spread(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; one for all tests of a worker, with a database for whoever asks."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """Whatever uses this runs once on each engine."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_database(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes empty databases of the engine; returns their URLs."""
    if engine == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_database
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('database') / 'balsam.db'}"


@pytest.fixture(scope="session")
def password_server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """A server in this process on a free port, on which users register; one for all tests of a worker."""
    with PasswordServer(new_database()) as server:
        yield server


@pytest.fixture
def new_user(password_server: PasswordServer) -> Iterator[Callable[[], User]]:
    """Makes users who are strangers to each other, each with a client that is logged in."""
    users: list[User] = []

    def make() -> User:
        users.append(password_server.new_user())
        return users[-1]

    yield make
    for user in users:
        user.client.close()


@pytest.fixture
def user(new_user: Callable[[], User]) -> User:
    return new_user()


@pytest.fixture
def client(user: User) -> Client:
    return user.client


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """An embedded server as a process of its own that a test may kill and start again."""
    server = EmbeddedServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()
