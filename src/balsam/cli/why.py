"""`balsam job why` and `balsam queue why`: what keeps jobs and allocations, each or by reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from balsam.api import BatchJob, Job, Site
from balsam.cli.job_choice import JobChoice, job_filters, no_batch_jobs, no_jobs
from balsam.cli.listing import Form, Listing, Row, View, listing_options
from balsam.cli.options import refuse_idle
from balsam.cli.printable import printable
from balsam.client.errors import NotFoundError
from balsam.sdk.query import IDS_PER_REQUEST, cut

REASONS = Listing(
    columns=("jobs", "site", "code", "cause", "why", "example_job_id"),
    shown=("jobs", "site", "code", "cause", "why"),
)


@click.command("why")
@job_filters()
@listing_options(REASONS)
def job_why(choice: JobChoice, view: View) -> None:
    """Say why a job does not go on; of several, how many wait for which reason, with an example of each.

    Without any choice: of all jobs that have not finished. Those that failed are counted by cause, which is
    the return code and the line that tells why, with `#` for numbers. docs/why.md lists the codes.
    """
    _explain(choice, view)
    choice.refuse_strangers()


def _explain(choice: JobChoice, view: View) -> None:
    is_one = choice.is_by_id_only and len(choice.ids) == 1
    if is_one:
        refuse_idle({"sort", "limit"}, "with one job")
    if is_one and view == View(REASONS):
        click.echo(printable(_of_one_job(choice.ids[0])))
        return
    counts = choice.query().why_counts()
    if not counts and view.form is Form.TEXT:
        click.echo("No such jobs, or all of them have finished.")
        return
    sites = {site.id: site.name for site in Site.objects.all()}
    rows: list[Row] = [
        {
            "jobs": one.count,
            "site": sites.get(one.site_id or 0),
            "code": one.code,
            "cause": one.cause,
            "why": f"E.g.: {one.sentence}" if view.form is Form.TEXT else one.sentence,
            "example_job_id": one.job_id,
        }
        for one in counts
    ]
    if view.form is Form.TEXT and view.columns is None and all(row["cause"] is None for row in rows):
        view = replace(view, columns=tuple(name for name in REASONS.shown if name != "cause"))
    view.show_first(rows)


def _of_one_job(job_id: int) -> str:
    try:
        return Job.objects.get(id=job_id).why().sentence
    except (Job.DoesNotExist, NotFoundError) as exc:
        raise no_jobs([job_id]) from exc


@click.command("why")
@click.argument("batch_job_id", type=int, metavar="ID")
def queue_why(batch_job_id: int) -> None:
    """Say why an allocation is not submitted, does not start or runs nothing, or why it ended."""
    try:
        click.echo(printable(BatchJob.objects.get(id=batch_job_id).why().sentence))
    except (BatchJob.DoesNotExist, NotFoundError) as exc:
        raise no_batch_jobs([batch_job_id]) from exc


def reasons_of_jobs(job_ids: Sequence[int | None]) -> dict[int, str]:
    """The sentence on each of these jobs."""
    return {
        one.job_id: one.sentence
        for ids in cut(list(job_ids), IDS_PER_REQUEST)
        for one in Job.objects.filter(id=ids).why(limit=len(ids))
    }


def reasons_of_batch_jobs(batch_job_ids: Sequence[int | None]) -> dict[int, str]:
    """The sentence on each of these allocations."""
    return {
        one.batch_job_id: one.sentence
        for ids in cut(list(batch_job_ids), IDS_PER_REQUEST)
        for one in BatchJob.objects.filter(id=ids).why(limit=len(ids))
    }
