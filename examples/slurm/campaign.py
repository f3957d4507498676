"""What is simulated, on which allocations, as values; and its submission."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from balsam.api import BatchJob, Job, JobMode
from examples.slurm import ising
from examples.slurm.apps import Magnet, Replicas

NODES, CPUS = 16, 8
PARTITIONS = ("batch", "spare", "urgent")
# An allocation of `urgent` that finds too few idle nodes takes those of `spare`.
SLURM_LINES = """\
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=batch Nodes=ALL MaxTime=01:00:00 PriorityTier=5 PreemptMode=OFF
PartitionName=spare Nodes=ALL MaxTime=01:00:00 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=01:00:00 PriorityTier=10 PreemptMode=OFF
"""
# Of settings.yml. Slurm shows how an allocation ended for some minutes, which is often enough to look.
SCHEDULER = {
    "poll_period": 2,
    "submit": {"nodes": "--nodes={num_nodes} --gpus-per-node=4", "project_option": ""},
    "allowed_projects": ["none"],
    "allowed_queues": {
        name: {"max_nodes": NODES, "max_walltime": 60, "max_queued_jobs": 10} for name in PARTITIONS
    },
}
WALL_TIME_MIN = 10
JOBS_PER_NODE = 2
RANK_NODES, RANKS_PER_NODE = 2, 2
COLD, HOT = 1.6, 3.2
MISTAKES = (0.0, -1.0, -2.0)  # no temperatures: their runs fail


@dataclass(frozen=True)
class Plan:
    """How much is done. `sweeps` of each simulation."""

    magnets: int
    replicas: int
    sweeps: int


FULL = Plan(magnets=200, replicas=12, sweeps=4_000)
SMALL = Plan(magnets=60, replicas=3, sweeps=2_500)


@dataclass(frozen=True)
class Nodes:
    """What one allocation asks for. `role`: what the campaign has it for."""

    role: str
    queue: str
    num_nodes: int
    mode: JobMode


STEADY = Nodes("steady", "batch", 5, JobMode.serial)
RANKS = Nodes("ranks", "batch", 4, JobMode.mpi)
CANCELLED = Nodes("cancelled", "batch", 2, JobMode.serial)
PREEMPTED = Nodes("preempted", "spare", 5, JobMode.serial)
URGENT = Nodes("urgent", "urgent", 5, JobMode.serial)
FIRST = (STEADY, RANKS, CANCELLED, PREEMPTED)  # all nodes; the urgent one comes when all of them work


def temperatures(count: int) -> list[float]:
    """Evenly from cold to hot."""
    return [round(COLD + (HOT - COLD) * number / max(1, count - 1), 4) for number in range(count)]


def tags(name: str) -> dict[str, str]:
    """Of all jobs and allocations of one campaign."""
    return {"experiment": "magnets", "campaign": name}


def submit_jobs(name: str, plan: Plan) -> list[Job]:
    """Queues all jobs, those that will fail in their midst."""
    Magnet.sync()
    Replicas.sync()
    cold_to_hot = temperatures(plan.magnets)
    middle = plan.magnets // 2
    magnets = [*cold_to_hot[:middle], *MISTAKES, *cold_to_hot[middle:]]
    jobs = [_magnet(name, plan, number, one) for number, one in enumerate(magnets)]
    jobs += [_replicas(name, plan, one) for one in temperatures(plan.replicas)]
    return list(Job.objects.bulk_create(jobs))


def submit_allocation(name: str, site_id: int, nodes: Nodes) -> BatchJob:
    """Asks for nodes, whose launcher takes the jobs of its mode."""
    return BatchJob.objects.create(
        num_nodes=nodes.num_nodes,
        wall_time_min=WALL_TIME_MIN,
        job_mode=nodes.mode,
        site_id=site_id,
        project="none",
        queue=nodes.queue,
        filter_tags={**tags(name), "mode": nodes.mode.value},
    )


def _magnet(name: str, plan: Plan, number: int, temperature: float) -> Job:
    return Magnet.submit(
        workdir=Path("magnets") / name / f"{number:03}",
        tags={**tags(name), "mode": JobMode.serial.value},
        gpus_per_rank=1,
        node_packing_count=JOBS_PER_NODE,
        save=False,
        temperature=temperature,
        sweeps=plan.sweeps,
        seed=number,
    )


def _replicas(name: str, plan: Plan, temperature: float) -> Job:
    return Replicas.submit(
        workdir=Path("magnets") / name / f"replicas-{temperature:g}",
        tags={**tags(name), "mode": JobMode.mpi.value},
        num_nodes=RANK_NODES,
        ranks_per_node=RANKS_PER_NODE,
        gpus_per_rank=1,
        save=False,
        launch_params={"mpi": "none", "cpu_bind": "none"},  # this host lacks the CPUs that its nodes have
        python=sys.executable,
        program=ising.__file__,
        temperature=str(temperature),
        sweeps=str(plan.sweeps),
    )
