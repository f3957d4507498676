"""`make demo`: a hyperparameter search on this machine, from an empty folder to a figure.

Starts a server, a site and its agent in .demo/, runs about 160 jobs on two allocations that overlap, and
stops what it started. What it made stays in .demo/ until `make clean`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from balsam import analytics
from balsam.api import Job, JobState, Site
from balsam.core.states import DONE_STATES
from balsam.report.campaign import Bounds, gather
from balsam.report.page import page
from balsam.sdk.context import default_client
from examples import report
from examples.demonstration import demonstrate, end_allocations, log_in, look_further
from examples.digits.apps import SITE
from examples.digits.campaign import Campaign, Setting, settings, submit_jobs
from examples.digits.watch import Watch
from examples.stack import Stack

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Runs the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".demo", help="where everything is kept")
    parser.add_argument("--small", action="store_true", help="search a quarter of the settings")
    options = parser.parse_args()
    console = Console(highlight=False)
    stack = Stack(options.folder.absolute())
    search = settings(every=4 if options.small else 1)
    return demonstrate(stack, console, lambda: run(stack, search, console))


def run(stack: Stack, search: list[Setting], console: Console) -> None:
    """One campaign, from starting the server to the report."""
    console.print(f"Starting a server, a site and its agent in {stack.folder} ...")
    stack.start(SITE)
    log_in(stack)
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    site = Site.objects.get(name=SITE)
    end_allocations(site.id)  # of a demonstration that was killed
    try:
        campaign = submit_jobs(name, search)
        console.print(
            f"Submitted {len(campaign.jobs) + 1} jobs (one of them can never run) of campaign {name}."
        )
        _watch(stack, campaign, site.id, console)
        console.print()
        explain_and_remove_blocked(campaign, console)
    finally:
        end_allocations(site.id)
    show(stack, campaign, console)


def _watch(stack: Stack, campaign: Campaign, site_id: int, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("jobs", total=len(campaign.jobs))

        def progress(states: Counter[JobState]) -> None:
            running, failed = states[JobState.running], states[JobState.failed]
            text = f"jobs ({running:2} running, {failed} failed)"
            bar.update(task, completed=sum(states[state] for state in DONE_STATES), description=text)

        Watch(
            stack, campaign, site_id, lambda line: bar.console.print(f"note: {line}"), progress
        ).until_done()


def explain_and_remove_blocked(campaign: Campaign, console: Console) -> None:
    """Shows why one job can never run, and removes it."""
    why = default_client().get(f"/jobs/{campaign.blocked.id}/why")["sentence"]
    console.print(f"balsam job why {campaign.blocked.id}\n  {why}", markup=False, soft_wrap=True)
    campaign.blocked.delete()
    console.print("  (removed: nothing else would ever have happened to it)\n")


def show(stack: Stack, campaign: Campaign, console: Console) -> None:
    """Draws the figure and prints what came out, where it is, and how to look further."""
    from examples.figure import draw

    picture = stack.folder / "digits.png"
    draw(campaign.tags, picture)
    jobs = Job.objects.filter(tags=campaign.tags)
    told = gather(jobs, f"Digits campaign {campaign.name}", {}, {}, Bounds())
    (stack.folder / "report.html").write_text(page(told), encoding="utf-8")
    summary = analytics.summary(jobs)
    console.print(report.states_table(summary))
    console.print(report.node_hours(summary))
    campaign.winner.refresh_from_db()
    results = stack.site / "data" / "digits" / campaign.name
    lines = [
        "",
        f"winner:  {winner_text(campaign.winner.result_nowait())}",
        f"results: {results}",
        f"figure:  {picture}",
        f"report:  {stack.folder / 'report.html'} (open it in a browser)",
        f"site:    {stack.site}",
        "",
        *look_further(
            stack,
            [
                f"balsam job ls --tag campaign={campaign.name} --state FAILED",
                f"balsam job ls --history {campaign.winner.id}",
                f"balsam report --tag campaign={campaign.name}",
                "balsam queue ls --history",
                f"cat {results}/svc/ranking/ranking.txt",
            ],
        ),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def winner_text(winner: dict[str, Any]) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in winner["settings"].items())
    return f"{winner['family']} with {settings}: accuracy {winner['score']:.4f}, best of {winner['compared']}"


if __name__ == "__main__":
    sys.exit(main())
