"""`make lammps`: an ensemble of LAMMPS simulations, 2 MPI ranks each, from an empty folder to a figure.

Starts a server, a site and its agent in .demo-lammps/, runs shipped inputs of LAMMPS in an allocation of
`mpi` mode, and stops what it started. What it made stays in .demo-lammps/ until `make clean`.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from balsam import analytics
from balsam.api import Job, JobState, Site
from examples import report
from examples.demonstration import DemonstrationFailed, demonstrate, end_allocations, log_in, look_further
from examples.lammps.apps import SITE
from examples.lammps.ensemble import Member, members, submit_allocation, submit_jobs, tags
from examples.lammps.programs import INPUTS, OPEN_MPI, ROOT_MAY_RUN, Programs, find_programs
from examples.stack import Stack

PROJECT = Path(__file__).resolve().parents[2]
GIVE_UP_SEC = 600.0
SMALL = 0.1  # of the steps


def main() -> int:
    """Runs the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.lammps.demo", description=__doc__)
    folder = PROJECT / ".demo-lammps"
    parser.add_argument("--folder", type=Path, default=folder, help="where everything is kept")
    parser.add_argument("--inputs", type=Path, default=INPUTS, help="LAMMPS's folder of examples")
    parser.add_argument("--small", action="store_true", help="a tenth of the steps")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        programs = find_programs(options.inputs.absolute(), os.environ["PATH"])
    except DemonstrationFailed as exc:
        console.print(str(exc), style="red", markup=False, soft_wrap=True)
        return 1
    stack = Stack(options.folder.absolute(), {"mpi_app_launcher": programs.mpi.setting})
    search = members(SMALL if options.small else 1.0)
    return demonstrate(stack, console, lambda: run(stack, programs, search, console))


def run(stack: Stack, programs: Programs, search: list[Member], console: Console) -> None:
    """One campaign, from starting the server to the report."""
    settle(stack, programs, console)
    console.print(f"Starting a server, a site and its agent in {stack.folder} ...")
    stack.start(SITE)
    log_in(stack)
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    site = Site.objects.get(name=SITE)
    end_allocations(site.id)  # of a demonstration that was killed
    try:
        jobs = submit_jobs(name, programs.inputs, dict(programs.mpi.launch_params), search)
        submit_allocation(name, site.id)
        console.print(f"Submitted {len(jobs)} simulations of campaign {name}:")
        follow(jobs, console)
    finally:
        end_allocations(site.id)
    show(stack, name, jobs, console)


def settle(stack: Stack, programs: Programs, console: Console) -> None:
    """Sets and tells what the MPI launcher needs here: the agent, and its launchers, inherit it."""
    os.environ["PATH"] = programs.settled_in(stack.folder / "bin", os.environ["PATH"])
    said = [
        f"LAMMPS was built with {programs.mpi.name}: the site's settings.yml gets "
        f"launcher.mpi_app_launcher: {programs.mpi.setting}, which starts {programs.launcher}."
    ]
    if programs.mpi is OPEN_MPI and os.geteuid() == 0:
        os.environ.update(ROOT_MAY_RUN)
        said.append(
            "You are root, for whom Open MPI runs nothing unless told twice to: "
            f"{' and '.join(f'{key}={value}' for key, value in ROOT_MAY_RUN.items())} are set here. On a "
            "machine that matters, run it as another user."
        )
    console.print("\n".join(said), markup=False, soft_wrap=True)


def follow(jobs: list[Job], console: Console) -> None:
    """Says of each simulation that it has ended; raises DemonstrationFailed where some do not."""
    try:
        for job in Job.objects.as_completed(jobs, timeout=GIVE_UP_SEC):
            speed = job.data.get("timesteps_per_sec")
            came_to = f"{speed:10.1f} timesteps/s" if speed else f"{job.state}"
            console.print(f"  {job.tags['member']:16} {came_to}", markup=False)
    except TimeoutError as exc:
        raise DemonstrationFailed(f"{exc}: see `balsam job ls` and the logs of the site") from exc


def show(stack: Stack, name: str, jobs: list[Job], console: Console) -> None:
    """Draws the figure and prints what came out, where it is, and how to look further."""
    from examples.figure import draw

    picture = stack.folder / "lammps.png"
    draw(tags(name), picture)
    summary = analytics.summary(Job.objects.filter(tags=tags(name)))
    console.print()
    console.print(members_table(jobs))
    for job in jobs:
        if "mended" in job.data:
            console.print(f"{job.tags['member']} was started again: {job.data['mended']}", markup=False)
    console.print(report.states_table(summary))
    console.print(report.node_hours(summary))
    results = stack.site / "data" / "lammps" / name
    mended = next(job for job in jobs if job.tags["member"] == "hasty")
    lines = [
        "",
        f"results: {results}",
        f"figure:  {picture}",
        f"site:    {stack.site}",
        "",
        *look_further(
            stack,
            [
                f"balsam job ls --tag campaign={name}",
                f"balsam job ls --history {mended.id}",
                f"cat {results}/hasty/job.out",
            ],
        ),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    failed = [job.tags["member"] for job in jobs if job.state != JobState.job_finished]
    if failed:
        raise DemonstrationFailed(f"these simulations failed: {', '.join(failed)}; see their job.out")


def members_table(jobs: list[Job]) -> Table:
    """What the log of each simulation says, as postprocess() has put it into the job's data."""
    table = Table(title="Simulations", title_justify="left")
    table.add_column("Member", no_wrap=True)
    for heading in ("atoms", "steps", "timesteps/s", "temperature", "energy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for job in jobs:
        data = job.data
        if "timesteps_per_sec" not in data:
            table.add_row(job.tags["member"], str(job.state))
            continue
        measured = (f"{data['timesteps_per_sec']:.1f}", f"{data['temperature']:.4f}", f"{data['energy']:.4f}")
        table.add_row(job.tags["member"], str(data["atoms"]), str(data["steps"]), *measured)
    return table


if __name__ == "__main__":
    sys.exit(main())
