"""Fixtures: the two releases, and users who work with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.published import release
from tests.published.release import Account, Release
from tests.services import PasswordServer


@pytest.fixture(scope="session")
def published() -> Release:
    return release.published()


@pytest.fixture(scope="session")
def ours() -> Release:
    return release.ours()


@pytest.fixture(scope="session")
def new_account(
    password_server: PasswordServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Account]:
    """Makes users with a home folder and a login file."""

    def make() -> Account:
        account = Account(password_server.new_user(), tmp_path_factory.mktemp("home"))
        account.user.client.close()
        account.log_in(password_server.url)
        return account

    return make
