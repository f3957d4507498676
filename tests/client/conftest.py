"""What all tests of the client share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def engine() -> str:
    """A client only sees HTTP: the tests of the server show that both engines answer alike."""
    return "sqlite"
