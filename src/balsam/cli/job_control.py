"""`balsam job kill` and `balsam job tail`: what is done to jobs that may be running elsewhere."""

from __future__ import annotations

import sys
from typing import Any

import click

from balsam.api import Job
from balsam.cli.job_choice import JobChoice, job_filters, no_jobs
from balsam.cli.options import confirm, counted
from balsam.cli.printable import printable
from balsam.core.states import DONE_STATES, JobState
from balsam.schemas.messages import KillsOut
from balsam.sdk.remote import KILL_SEC

SHOWN = 10  # reasons


@click.command()
@job_filters(changes=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=KILL_SEC,
    show_default=True,
    help="Seconds to wait for the ends of those that run.",
)
def kill(choice: JobChoice, yes: bool, timeout: float) -> None:
    """End jobs for good, wherever they wait or run: they are FAILED then and not run again."""
    choice.require()
    query = choice.query()
    choice.refuse_strangers()
    left = [state for state in choice.filters.get("state", JobState) if state not in DONE_STATES]
    going = choice.query(state=left).count()
    if going:
        confirm(_question(going, choice.ids), yes)
    for line in outcome_lines(query.kill(timeout)):
        click.echo(line)


def _question(count: int, ids: list[int]) -> str:
    return f"Kill job {ids[0]}?" if len(ids) == count == 1 else f"Kill {counted(count, 'job')}?"


def outcome_lines(killed: KillsOut) -> list[str]:
    """What became of the jobs: counts, then why some are not yet ended."""
    late = len(killed.pending)
    lines = [f"{counted(killed.killed + killed.told + killed.noted - late, 'job')} killed."]
    if killed.ended:
        lines.append(f"{counted(killed.ended, 'job')} had ended before.")
    if late:
        lines.append(
            f"{counted(late, 'job')} not yet ended; they fail as soon as their launchers answer or are lost:"
        )
        whys = Job.objects.filter(id=killed.pending[:SHOWN]).why(limit=SHOWN)
        lines += [printable(f"  job {one.job_id}: {one.sentence}") for one in whys]
    return lines


@click.command()
@click.argument("job_id", type=int)
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--attempt", type=click.IntRange(min=1), help="Of which run, 1 for the first; else the last.")
@click.option("--raw", is_flag=True, help="Control characters as they are, also on a terminal.")
def tail(job_id: int, lines: int, follow: bool, attempt: int | None, raw: bool) -> None:
    """Show the end of a job's output, wherever it runs or ran.

    On a terminal, control characters other than ends of lines and tabs show as \\x1b, unless --raw is given;
    files and pipes get them as they are.
    """
    try:
        job = Job.objects.get(id=job_id)
    except Job.DoesNotExist as exc:
        raise no_jobs([job_id]) from exc
    pieces: Any = (
        job.tail(lines, follow=True, attempt=attempt) if follow else [job.tail(lines, attempt=attempt)]
    )
    for piece in pieces:
        safe = piece if raw or not sys.stdout.isatty() else printable(piece, keep_returns=True)
        click.echo(safe, nl=False, color=True)  # else click takes escapes out on its own
