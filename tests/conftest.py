"""Shared fixtures: `tests/services.py` starts each service, these hand it to the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balsam.client.transport import Client
from tests.services import EmbeddedServer, PasswordServer, User


@pytest.fixture(scope="session")
def password_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasswordServer]:
    """A server in this process on a free port, on which users register; one for all tests of a worker."""
    with PasswordServer(tmp_path_factory.mktemp("server")) as server:
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
