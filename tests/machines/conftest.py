"""A Balsam server whose users log in at a real login provider, and a person's browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.machines.browser import Browser
from tests.services import LoginProvider, PasswordServer


@pytest.fixture(scope="session")
def institute(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """A server with a login provider of its own; it also has passwords."""
    provider = LoginProvider()
    server = PasswordServer(
        new_database(),
        oauth_issuer=provider.issuer,
        oauth_client_id=provider.client_id,
        oauth_client_secret=provider.client_secret,
        oauth_name="institute",
    )
    provider.start(f"{server.url}/auth/oauth/institute/callback")
    try:
        with server:
            yield server
    finally:
        provider.stop()


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one
