"""A real site with a real agent, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client.transport import Client
from balsam.runtime.site_folder import create_site_folder
from tests.services import EmbeddedServer
from tests.site.bench import Bench


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server for all tests of a worker; tests that stop servers use `embedded`."""
    made = EmbeddedServer(tmp_path_factory.mktemp("site-tests") / "server")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def bench(tmp_path: Path, owner: Client) -> Iterator[Bench]:
    """A site of its own on the shared server; its agent is not started yet."""
    made = Bench(create_site_folder(tmp_path / "site", f"{tmp_path.name}", owner), owner)
    yield made
    made.close()


@pytest.fixture
def own_bench(tmp_path: Path, embedded: EmbeddedServer) -> Iterator[Bench]:
    """A site on a server of its own, which the test may kill."""
    with embedded.client() as client:
        made = Bench(create_site_folder(tmp_path / "site", "site", client), client)
        yield made
        made.close()
