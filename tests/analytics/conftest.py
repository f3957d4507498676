"""A database of each engine, which another user has filled already."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from balsam.store import migrate
from balsam.store.database import Database
from tests.analytics.histories import others, write


@pytest.fixture(scope="module")
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(new_database())
    migrate.upgrade(database)
    write(database, others())
    yield database
    database.close()
