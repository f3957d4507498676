"""Balsam's launchers on several nodes with real MPI launchers: Open MPI, MPICH and Slurm's srun."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from balsam.schemas import deserialize
from balsam.sdk.application import ApplicationDefinition
from examples.slurm.cluster import SlurmCluster
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.machines.clusters import VirtualNodes, mpich_for_python
from tests.services import User
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def engine() -> str:
    """A launcher only sees HTTP: the tests of the server show that both engines answer alike."""
    return "sqlite"


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    """Its nodes have as many cores as this host surely has, so that ranks can be bound to them."""
    with SlurmCluster(nodes=3, cpus=2) as cluster:
        yield cluster


class Sum(ApplicationDefinition):
    """Every rank adds up the ranks of all, and they agree."""

    def run(self) -> list[int]:
        import socket

        from mpi4py import MPI

        world = MPI.COMM_WORLD
        total = world.allreduce(world.rank)
        totals = world.allgather(total)
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        hosts = world.allgather(host)
        assert len(set(totals)) == 1
        return [world.size, total, len(set(hosts))]


@dataclass
class Allocation:
    """A site whose launchers have three real nodes; `params`: what its MPI programs need here."""

    pilot: Pilot
    names: Sequence[str]
    environment: Mapping[str, str]
    within: Sequence[str] = ()
    params: Mapping[str, str] = field(default_factory=dict)

    def launch(self, mode: str, *options: str) -> Popen[bytes]:
        return self.pilot.launch(*options, mode=mode, environment=self.environment, within=self.within)

    def nodes_of(self, job_id: int) -> list[str]:
        events = self.pilot.events(job_id)
        return list(next(e for e in events if e["to_state"] == "RUNNING")["data"]["nodes"])


@pytest.fixture(params=["openmpi", "mpich", "srun"])
def allocation(
    request: pytest.FixtureRequest, tmp_path: Path, new_user: Callable[[], User]
) -> Iterator[Allocation]:
    pilot = Pilot(tmp_path / "site", new_user().client)
    queue = {"max_nodes": 3, "max_walltime": 60, "max_queued_jobs": 1}
    pilot.client.put(f"/sites/{pilot.site.site_id}", {"allowed_queues": {"local": queue}})
    library = tmp_path / "mpi"
    library.mkdir()
    if request.param == "srun":
        slurm: SlurmCluster = request.getfixturevalue("slurm")
        pilot.set("launcher", compute_node="slurm", mpi_app_launcher="srun")
        environment = slurm.environment | mpich_for_python(library)
        within = ["salloc", "-Q", "--kill-command=TERM", "-N3", "--exclusive", "--gpus-per-node=4"]
        yield Allocation(pilot, slurm.nodes[:3], environment, within, {"mpi": "pmi2"})
    else:
        nodes: VirtualNodes = request.getfixturevalue("virtual_nodes")
        pilot.set("launcher", compute_node="pbs", mpi_app_launcher=request.param)
        file = tmp_path / "nodes"
        file.write_text("".join(f"{name}\n" for name in nodes.names))
        environment = {**nodes.environment, "PBS_NODEFILE": str(file)}
        if request.param == "mpich":
            environment |= mpich_for_python(library)
        else:
            programs = tmp_path / "programs"
            programs.mkdir()
            (programs / "mpirun").symlink_to("/usr/bin/mpirun.openmpi")
            environment["PATH"] = f"{programs}:{environment['PATH']}"
        yield Allocation(pilot, nodes.names, environment)
    pilot.end()


def test_ranks_of_a_python_app_agree_on_their_sum(allocation: Allocation) -> None:
    pilot = allocation.pilot
    app = pilot.app_id(Sum)
    fields: dict[str, Any] = {"ranks_per_node": 2, "launch_params": dict(allocation.params)}
    wide = pilot.submit(app, num_nodes=3, **fields)[0]
    packed = pilot.submit(app, 2, node_packing_count=2, **fields)
    allocation.launch("mpi")
    rows = pilot.wait_done([wide, *packed], 90)
    assert {row["state"] for row in rows} == {"JOB_FINISHED"}, pilot.told([wide, *packed])
    assert deserialize(rows[0]["serialized_return_value"]) == [6, 15, 3]
    assert [deserialize(row["serialized_return_value"]) for row in rows[1:]] == [[2, 1, 1]] * 2
    assert sorted(allocation.nodes_of(wide)) == sorted(allocation.names)


def test_killed_mpi_run_leaves_no_rank_behind(allocation: Allocation) -> None:
    pilot, command = allocation.pilot, long_sleep()
    ids = pilot.submit(pilot.command(command), num_nodes=2, ranks_per_node=2)
    launcher = allocation.launch("mpi")
    wait_until(lambda: len(_ranks(command)) == 4, 60, lambda: pilot.told(ids))
    pilot.client.delete(f"/jobs/{ids[0]}")
    wait_until(lambda: not _ranks(command), 60)
    assert launcher.poll() is None


def test_serial_jobs_run_on_all_nodes(allocation: Allocation) -> None:
    pilot = allocation.pilot
    pilot.set("launcher", idle_ttl_sec=2)
    ids = pilot.submit(pilot.command("sleep 0.5; echo done"), 18, node_packing_count=3)
    launcher = allocation.launch("serial")
    assert {row["state"] for row in pilot.wait_done(ids, 90)} == {"JOB_FINISHED"}
    where = Counter(allocation.nodes_of(job_id)[0] for job_id in ids)
    assert where.keys() == set(allocation.names)
    assert launcher.wait(60) == 0


def test_lost_worker_costs_its_own_runs_only(allocation: Allocation) -> None:
    pilot, command = allocation.pilot, long_sleep()
    ids = pilot.submit(pilot.command(command), 3, max_restarts=0)
    allocation.launch("serial")
    pilot.wait_state(ids, "RUNNING", 60)
    victim = _parent(_ranks(command)[0])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: pilot.states(ids).count("RUNNING") == 2, 60, lambda: pilot.told(ids))
    (lost,) = [job_id for job_id in ids if "RUN_TIMEOUT" in pilot.walk(job_id)]
    (event,) = [event for event in pilot.events(lost) if event["to_state"] == "RUN_TIMEOUT"]
    assert f"node {allocation.nodes_of(lost)[0]} was lost" in event["data"]["message"]
    wait_until(lambda: len(_ranks(command)) == 2, 30)


def _ranks(command: str) -> list[int]:
    """Pids of the processes that are the command, not of those that start it."""
    found = []
    for pid in processes_with(command):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found += [pid] if line.strip().removeprefix("/usr/bin/") == command else []
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
