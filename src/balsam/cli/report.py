"""`balsam report`: what a campaign came to, as text, a page, a figure or data."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from balsam.api import BatchJob
from balsam.cli.connection import connect
from balsam.cli.job_choice import JobChoice, job_filters
from balsam.cli.moment import Moment
from balsam.cli.options import Word, refuse_idle
from balsam.cli.report_output import FORMATS, kind_of, must_be_writable, write, write_table
from balsam.report.campaign import Bounds, gather
from balsam.report.words import moment
from balsam.sdk.figures import AnyQuery, Window

ATTEMPTS = Bounds().attempts
# What each format has no place for: a table of attempts, groups by tag, a title.
IDLE = {
    "text": {"num"},
    "png": {"num", "by_tags"},
    "svg": {"num", "by_tags"},
    "html": set[str](),
    "csv": {"by_tags", "title"},
    "json": set[str](),
}


@click.command()
@job_filters()
@click.option("--since", type=Moment(), help="From this time (UTC) or age on: 2026-01-31T12:00, 12h, 7d.")
@click.option("--until", type=Moment(), help="Up to this time or age.")
@click.option(
    *("--by-tag", "by_tags"),
    multiple=True,
    type=Word(),
    metavar="KEY",
    help="Node-hours by this tag, in text, a page or JSON.",
)
@click.option(
    "-f", "--format", "kind", type=click.Choice(FORMATS), help="Default: as the file's name says, else text."
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option(
    "-n",
    "--num",
    type=click.IntRange(min=1),
    help=f"The newest attempts in the table. Default: {ATTEMPTS:,} of a page or JSON, all of CSV.",
)
@click.option("--title", help="The report's title.")
@click.pass_context
def report(
    context: click.Context,
    choice: JobChoice,
    since: datetime | None,
    until: datetime | None,
    by_tags: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    num: int | None,
    title: str | None,
) -> None:
    """Report what a campaign came to: throughput, use of nodes, times, failures, every attempt.

    `-o report.html` writes one page that needs nothing else: open it anywhere, or mail it. --batch-job alone
    means what ran in that BatchJob; with other filters, jobs that ran there last.
    """
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--until is not after --since")
    kind = kind or kind_of(output)
    refuse_idle(IDLE[kind], f"in a report of the format {kind}")
    must_be_writable(kind, output)
    connect(context)
    choice.refuse_strangers()
    window: Window = {"timestamp_after": since, "timestamp_before": until}
    told = dict(choice.told)
    told |= {name: moment(when) for name, when in (("from", since), ("until", until)) if when}
    query = _query(choice)
    if kind == "csv":
        write_table(query, num, window, output)
    else:
        bounds = Bounds(attempts=num or ATTEMPTS)
        write(gather(query, title or _title(told), told, window, bounds, by_tags or None), kind, output)


def _query(choice: JobChoice) -> AnyQuery:
    if choice.filters.keys() - {"site_id"} == {"batch_job_id"}:
        sites = {name: choice.filters[name] for name in choice.filters.keys() & {"site_id"}}
        return BatchJob.objects.filter(**{"id": choice.filters["batch_job_id"], **sites})
    return choice.query()


def _title(chosen: dict[str, str]) -> str:
    named = [value for name, value in chosen.items() if name.startswith("tag ") or name == "app"]
    return f"Report of {', '.join(named)}" if named else "Balsam report"
