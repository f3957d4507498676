"""`balsam report`: what a campaign came to, as text, a page, a figure or data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from balsam.api import BatchJob, Job
from balsam.cli.connection import connect
from balsam.cli.job_choice import job_filters
from balsam.cli.options import id_option, pairs, site_option
from balsam.cli.report_output import FORMATS, kind_of, must_be_writable, write, write_table
from balsam.cli.site_selector import selected_sites
from balsam.report.campaign import Bounds, gather
from balsam.report.words import moment
from balsam.sdk.figures import AnyQuery, Window

ATTEMPTS = Bounds().attempts
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Moment(click.ParamType[datetime]):
    """A time, or how long ago."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        if text[:-1].isdecimal() and text[-1:] in _SECONDS:
            try:
                return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])
            except (OverflowError, ValueError):
                self.fail(f"{text!r} is longer ago than any time", param, ctx)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither a time such as 2026-01-31T12:00 (UTC) nor an age such as 12h or 7d",
                param,
                ctx,
            )
        return when if when.tzinfo else when.replace(tzinfo=UTC)


@click.command()
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE")
@click.option("-s", "--state", help="Only jobs in this state.")
@click.option("-ns", "--exclude-state", help="Only jobs not in this state.")
@id_option("--id", help="Only these jobs.")
@click.option("-w", "--workdir", help="Only jobs whose workdir contains this.")
@click.option("-a", "--app", "app_str", help="Only jobs of this app (name or id).")
@click.option(
    "-b",
    "--batch-job",
    "batch_job_ids",
    type=int,
    multiple=True,
    help="What ran in this BatchJob; with other choices, jobs that ran there last.",
)
@site_option()
@click.option("--since", type=Moment(), help="From this time (UTC) or age on: 2026-01-31T12:00, 12h, 7d.")
@click.option("--until", type=Moment(), help="Up to this time or age.")
@click.option("--by-tag", "by_tags", multiple=True, metavar="KEY", help="Node-hours by this tag.")
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
    tags: tuple[str, ...],
    state: str | None,
    exclude_state: str | None,
    job_ids: list[int],
    workdir: str | None,
    app_str: str | None,
    batch_job_ids: tuple[int, ...],
    site_selector: str,
    since: datetime | None,
    until: datetime | None,
    by_tags: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    num: int | None,
    title: str | None,
) -> None:
    """Report what a campaign came to: throughput, use of nodes, times, failures, every attempt.

    `-o report.html` writes one page that needs nothing else: open it anywhere, or mail it.
    """
    kind = kind or kind_of(output)
    must_be_writable(kind, output)
    connect(context)
    window: Window = {"timestamp_after": since, "timestamp_before": until}
    query: AnyQuery
    if batch_job_ids and not (job_ids or tags or state or exclude_state or workdir or app_str):
        sites = selected_sites(site_selector) if site_selector else None
        query = BatchJob.objects.filter(id=batch_job_ids, site_id=sites)
    else:
        filters = job_filters(job_ids, tags, state, exclude_state, site_selector, workdir, app_str)
        query = Job.objects.filter(**filters, batch_job_id=batch_job_ids or None)
    chosen = {
        "job": ", ".join(map(str, job_ids)),
        **{f"tag {key}": value for key, value in pairs(tags, "--tag").items()},
        "state": state,
        "state not": exclude_state,
        "workdir contains": workdir,
        "app": app_str,
        "BatchJob": ", ".join(map(str, batch_job_ids)),
        "site": site_selector,
        "from": since and moment(since),
        "until": until and moment(until),
    }
    told = {name: value for name, value in chosen.items() if value}
    if kind == "csv":
        write_table(query, num, window, output)
    else:
        bounds = Bounds(attempts=num or ATTEMPTS)
        write(gather(query, title or _title(told), told, window, bounds, by_tags or None), kind, output)


def _title(chosen: dict[str, str]) -> str:
    named = [value for name, value in chosen.items() if name.startswith("tag ") or name == "app"]
    return f"Report of {', '.join(named)}" if named else "Balsam report"
