"""A real Slurm ends allocations while jobs run: it signals every process, in no order that anybody knows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.slurm.cluster import SlurmCluster
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.services import User
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def engine() -> str:
    """A launcher only sees HTTP: the tests of the server show that both engines answer alike."""
    return "sqlite"


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with SlurmCluster(nodes=3, cpus=2) as cluster:
        yield cluster


@pytest.fixture
def pilot(tmp_path: Path, new_user: Callable[[], User]) -> Iterator[Pilot]:
    pilot = Pilot(tmp_path / "site", new_user().client)
    pilot.set("launcher", compute_node="slurm", mpi_app_launcher="srun")
    queue = {"max_nodes": 3, "max_walltime": 60, "max_queued_jobs": 1}
    pilot.client.put(f"/sites/{pilot.site.site_id}", {"allowed_queues": {"local": queue}})
    yield pilot
    pilot.end()


def submit_launcher(slurm: SlurmCluster, pilot: Pilot, mode: str) -> str:
    """The id of a batch job in which a launcher has all nodes."""
    script = pilot.site.path / "launcher.sh"
    script.write_text(
        f"#!/bin/bash\nexport BALSAM_SITE_PATH='{pilot.site.path}'\n"
        f"{sys.executable} -m balsam.launcher.main -j {mode} -t 30\n"
    )
    output = pilot.site.log_path / "slurm.out"
    words = ["sbatch", "--parsable", "-N3", "--exclusive", f"--output={output}", str(script)]
    return slurm.run(*words).strip()


@pytest.mark.parametrize("mode", ["serial", "mpi"])
@pytest.mark.parametrize("trial", range(2))
def test_a_cancelled_allocation_fails_no_job_and_starts_none(
    slurm: SlurmCluster, pilot: Pilot, mode: str, trial: int
) -> None:
    command = long_sleep()
    params = {"mpi": "pmi2"} if mode == "mpi" else {}
    app = pilot.command(command)
    jobs = pilot.submit(app, 3, launch_params=params)
    number = submit_launcher(slurm, pilot, mode)
    pilot.wait_state(jobs, "RUNNING", 90)
    waiting = pilot.submit(app, 3, launch_params=params)
    slurm.run("scancel", number)
    wait_until(lambda: set(pilot.states(jobs)) == {"RESTART_READY"}, 60, lambda: pilot.told(jobs))
    wait_until(lambda: not slurm.run("squeue", "-h", "-j", number).strip(), 60)
    for job in jobs:
        assert pilot.walk(job)[-3:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY"], pilot.told(jobs)
    assert not any("RUNNING" in pilot.walk(job) for job in waiting)
    wait_until(lambda: not processes_with(command), 60)
