"""`make demo-slurm`: a campaign on a private Slurm of 16 virtual nodes, from an empty folder to a figure.

Starts Slurm, a server, a site and its agent in .demo-slurm/, asks Slurm for allocations of both modes, has
one cancelled and one preempted, and stops what it started. What it made stays in .demo-slurm/ until
`make clean`. It needs root, and Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from balsam import analytics
from balsam.api import BatchJob, Job, JobState, Site
from balsam.core.states import DONE_STATES, BatchJobState
from examples import report
from examples.demonstration import (
    POLL_SEC,
    DemonstrationFailed,
    demonstrate,
    end_allocations,
    log_in,
    look_further,
)
from examples.slurm.apps import SITE
from examples.slurm.campaign import (
    CANCELLED,
    CPUS,
    FIRST,
    FULL,
    NODES,
    PREEMPTED,
    SCHEDULER,
    SLURM_LINES,
    SMALL,
    URGENT,
    Plan,
    submit_allocation,
    submit_jobs,
    tags,
)
from examples.slurm.cluster import PROGRAMS, ClusterMissing, SlurmCluster, need_programs
from examples.stack import Stack

PROJECT = Path(__file__).resolve().parents[2]
GIVE_UP_SEC = 600.0
ENDED = (BatchJobState.finished, BatchJobState.submit_failed)


def main() -> int:
    """Runs the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.slurm.demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=PROJECT / ".demo-slurm", help="where everything is kept"
    )
    parser.add_argument("--small", action="store_true", help="fewer and shorter simulations")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        need_programs(*PROGRAMS)
    except ClusterMissing as exc:
        console.print(str(exc), style="red", markup=False, soft_wrap=True)
        return 1
    launcher = {"compute_node": "slurm", "mpi_app_launcher": "srun", "idle_ttl_sec": "5"}
    stack = Stack(options.folder.absolute(), launcher, "slurm", SCHEDULER)
    plan = SMALL if options.small else FULL
    return demonstrate(stack, console, lambda: run(stack, plan, console))


def run(stack: Stack, plan: Plan, console: Console) -> None:
    """One campaign, from starting Slurm to the report."""
    console.print(f"Starting Slurm with {NODES} nodes, a server, a site and its agent in {stack.folder} ...")
    cluster = start_slurm(stack)
    os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]  # for the agent, which inherits it
    stack.start(SITE)
    log_in(stack)
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    site = Site.objects.get(name=SITE)
    end_allocations(site.id)
    try:
        jobs = submit_jobs(name, plan)
        console.print(f"Submitted {len(jobs)} simulations of campaign {name}.")
        allocations = Course(cluster, name, site.id, console).run(jobs)
    finally:
        end_allocations(site.id)
    show(stack, name, allocations, console)


def start_slurm(stack: Stack) -> SlurmCluster:
    """In a folder of its own with a short path, to which the demonstration's has a link."""
    link = stack.folder / "slurm"
    if link.is_symlink():  # of a demonstration that was killed; its agent knows no other Slurm
        stack.stop_agent()
        SlurmCluster(folder=link.readlink()).stop()
        link.unlink()
        stack.started.add("server")
    cluster = SlurmCluster(NODES, CPUS, more=SLURM_LINES)
    link.symlink_to(cluster.folder)
    stack.ends.callback(link.unlink)
    stack.ends.callback(cluster.stop)
    try:
        cluster.start()
    except ClusterMissing as exc:
        raise DemonstrationFailed(str(exc)) from exc
    return cluster


class Course:
    """What happens to the allocations of one campaign; each by its role."""

    def __init__(self, cluster: SlurmCluster, name: str, site_id: int, console: Console) -> None:
        self._cluster = cluster
        self._name = name
        self._site_id = site_id
        self._console = console
        self._allocations: dict[str, BatchJob] = {}

    def run(self, jobs: list[Job]) -> dict[str, BatchJob]:
        """Returns when all jobs have ended, with the allocations that were asked for."""
        for nodes in FIRST:
            self._allocations[nodes.role] = submit_allocation(self._name, self._site_id, nodes)
        self._await("allocations work", lambda: all(self._works(nodes.role) for nodes in FIRST))
        self._say("all allocations run jobs; one is cancelled by scancel, as an administrator might")
        self._cluster.run("scancel", str(self._allocations[CANCELLED.role].scheduler_id_text))
        self._await("cancelled allocation ends", lambda: self._has_ended(CANCELLED.role))
        self._say(f"the queue {URGENT.queue} wants nodes: Slurm takes them from the queue {PREEMPTED.queue}")
        self._allocations[URGENT.role] = submit_allocation(self._name, self._site_id, URGENT)
        self._await("preempted allocation ends", lambda: self._has_ended(PREEMPTED.role))
        ids = [job.id for job in jobs]
        self._await("all simulations end", lambda: _open_jobs(ids) == 0)
        self._await("all allocations end", lambda: all(self._has_ended(role) for role in self._allocations))
        return self._allocations

    def _works(self, role: str) -> bool:
        """Whether one of its jobs has begun."""
        one = self._look(role)
        if one.state in ENDED:
            raise DemonstrationFailed(f"an allocation of queue {one.queue} ended at once: {one.cause}")
        return any(row.runs for row in analytics.node_hours(BatchJob.objects.filter(id=one.id)))

    def _has_ended(self, role: str) -> bool:
        return self._look(role).state in ENDED

    def _look(self, role: str) -> BatchJob:
        self._allocations[role].refresh_from_db()
        return self._allocations[role]

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + GIVE_UP_SEC
        while not condition():
            if time.monotonic() > deadline:
                raise DemonstrationFailed(f"waited {GIVE_UP_SEC:g} s until {what}: see the logs of the site")
            time.sleep(POLL_SEC)

    def _say(self, line: str) -> None:
        self._console.print(f"note: {line}", markup=False, soft_wrap=True)


def _open_jobs(ids: list[int]) -> int:
    return len(ids) - Job.objects.filter(id=ids, state=DONE_STATES).count()


def show(stack: Stack, name: str, allocations: dict[str, BatchJob], console: Console) -> None:
    """Draws the figure and prints what came out, where it is, and how to look further."""
    from examples.slurm.figure import draw

    picture = stack.folder / "slurm.png"
    draw(tags(name), list(allocations.values()), picture)
    jobs = Job.objects.filter(tags=tags(name))
    summary = analytics.summary(jobs)
    console.print()
    console.print(allocations_table(list(allocations.values())))
    console.print(report.states_table(summary))
    console.print(report.node_hours(summary))
    failed = Job.objects.filter(tags=tags(name), state=JobState.failed)
    lines = [
        "",
        f"results: {stack.site / 'data' / 'magnets' / name}",
        f"figure:  {picture}",
        f"site:    {stack.site}",
        "",
        *look_further(
            stack,
            [
                "balsam queue ls --history",
                f"balsam job ls --tag campaign={name} --state FAILED",
                *[f"balsam job why {job.id}" for job in failed[:1]],
                f"balsam report --tag campaign={name}",
            ],
        ),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def allocations_table(allocations: list[BatchJob]) -> Table:
    """What each asked for, ran, and why it ended."""
    table = Table(title="Allocations", title_justify="left")
    for heading in ("id", "Slurm's", "queue", "mode", "nodes", "seconds", "runs", "busy", "cause"):
        table.add_column(heading, justify="left" if heading in ("queue", "mode", "cause") else "right")
    for one in allocations:
        rows = analytics.node_hours(BatchJob.objects.filter(id=one.id))
        used = rows[0] if rows else None
        lasted = (one.end_time - one.start_time).total_seconds() if one.start_time and one.end_time else None
        table.add_row(
            str(one.id),
            one.scheduler_id_text,
            one.queue,
            one.job_mode.value,
            str(one.num_nodes),
            "" if lasted is None else f"{lasted:.0f}",
            str(used.runs if used else 0),
            "" if used is None or used.busy_fraction is None else f"{used.busy_fraction:.0%}",
            one.cause or "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
