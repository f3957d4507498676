"""A server whose users log in at a real login provider, browsers, and clusters of virtual nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from balsam.platform.mpi.mpich import Mpich
from balsam.platform.mpi.openmpi import OpenMpi
from balsam.platform.mpi.slurm import Srun
from examples.slurm.cluster import SlurmCluster
from tests.machines.browser import chromium
from tests.machines.clusters import Bench, VirtualNodes, mpich_for_python
from tests.machines.visitor import Visitor
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
def visitor() -> Iterator[Visitor]:
    with Visitor() as one:
        yield one


# Not for a whole session: while Playwright is there, nobody else in its thread has an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one; a test opens a context of its own in it: `browser.new_context()`."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A real Slurm of virtual nodes; one for all tests of a worker."""
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def virtual_nodes(tmp_path_factory: pytest.TempPathFactory) -> VirtualNodes:
    return VirtualNodes(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(params=["openmpi", "mpich", "srun"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A real MPI launcher with three virtual nodes; whatever uses this runs once with each."""
    if request.param == "srun":
        slurm: SlurmCluster = request.getfixturevalue("slurm")
        environment = slurm.environment | mpich_for_python(tmp_path)
        within = ["salloc", "-Q", "-N3", "--exclusive", "--gpus-per-node=4"]
        return Bench(Srun(), slurm.nodes[:3], environment, {"mpi": "pmi2"}, within)
    nodes: VirtualNodes = request.getfixturevalue("virtual_nodes")
    if request.param == "mpich":
        return Bench(Mpich(), nodes.names, nodes.environment | mpich_for_python(tmp_path))
    return Bench(OpenMpi("mpirun.openmpi"), nodes.names, nodes.environment)
