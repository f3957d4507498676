"""Users that tests share one after another: making one costs two password hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from balsam.api import Site
from balsam.client.transport import Client
from tests.services import PasswordServer, User


class Accounts:
    """Hands out users who own nothing."""

    def __init__(self, server: PasswordServer) -> None:
        self._server = server
        self._free: list[User] = []

    def take(self) -> User:
        user = self._free.pop() if self._free else self._server.new_user()
        return replace(user, client=Client(self._server.url, user.token, retry_sec=5.0))

    def give_back(self, user: User) -> None:
        user.client.close()
        with Client(self._server.url, user.token, retry_sec=5.0) as client:
            for site in Site.objects.using(client).all():
                site.delete()  # and all that belongs to it
        self._free.append(user)


@pytest.fixture(scope="session")
def accounts(password_server: PasswordServer) -> Accounts:
    return Accounts(password_server)


@pytest.fixture
def new_user(accounts: Accounts) -> Iterator[Callable[[], User]]:
    users: list[User] = []

    def make() -> User:
        users.append(accounts.take())
        return users[-1]

    yield make
    for user in users:
        accounts.give_back(user)
