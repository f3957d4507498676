"""What is simulated, as values, and its submission as jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from balsam.api import BatchJob, Job, JobMode
from examples.lammps.apps import Simulate

RANKS = 2
WALL_TIME_MIN = 10
SEED = 87287
MELT = "melt/in.melt"


@dataclass(frozen=True)
class Member:
    """One simulation: an input below LAMMPS's examples, and commands of it with other arguments."""

    name: str
    source: str
    commands: dict[str, str]


def members(length: float = 1.0) -> list[Member]:
    """The shipped melt at densities and temperatures, three flat systems, and a melt in too much of a hurry.

    `length`: a share of the steps that they have by default.
    """
    return list(_members(length))


def _members(length: float) -> Iterator[Member]:
    for density, temperature in itertools.product((0.7, 0.8442, 1.0), (1.5, 3.0)):
        yield Member(f"melt-{density:g}-{temperature:g}", MELT, _melt(density, temperature, length))
    for name, steps in (("crack", 1000), ("friction", 2000), ("obstacle", 4000)):
        yield Member(name, f"{name}/in.{name}", _steps(steps, length))
    # Handle_error of the app finds out, and starts it again with a shorter time step.
    yield Member("hasty", MELT, {**_melt(0.8442, 3.0, length), "timestep": "0.03"})


def _melt(density: float, temperature: float, length: float) -> dict[str, str]:
    return {
        "lattice": f"fcc {density:g}",
        "velocity": f"all create {temperature:g} {SEED} loop geom",
        **_steps(250, length),
    }


def _steps(steps: int, length: float) -> dict[str, str]:
    count = max(10, int(steps * length))
    return {"run": str(count), "thermo": str(max(1, count // 5))}


def tags(name: str) -> dict[str, str]:
    """Of all jobs and allocations of one campaign."""
    return {"experiment": "lammps", "campaign": name}


def submit_jobs(name: str, inputs: Path, launch_params: dict[str, str], search: list[Member]) -> list[Job]:
    """Queues a job for each member, in their order; as many share a node as have cores of their own."""
    Simulate.sync()
    cores = psutil.cpu_count(logical=False) or 1
    jobs = [
        Simulate.submit(
            workdir=Path("lammps") / name / member.name,
            tags={**tags(name), "member": member.name},
            data={"input": str(inputs / member.source), "commands": member.commands},
            ranks_per_node=RANKS,
            node_packing_count=max(1, cores // RANKS),
            launch_params=launch_params,
            save=False,
        )
        for member in search
    ]
    return list(Job.objects.bulk_create(jobs))


def submit_allocation(name: str, site_id: int) -> BatchJob:
    """Asks for one node, whose launcher starts each job by the MPI launcher of the site."""
    return BatchJob.objects.create(
        num_nodes=1,
        wall_time_min=WALL_TIME_MIN,
        job_mode=JobMode.mpi,
        site_id=site_id,
        project="local",
        queue="local",
        filter_tags=tags(name),
    )
