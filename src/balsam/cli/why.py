"""`balsam job why` and `balsam queue why`: what keeps jobs and allocations, each or by reason."""

from __future__ import annotations

from collections.abc import Sequence

import click

from balsam.api import BatchJob, Job, Site
from balsam.cli.job_choice import job_filters
from balsam.cli.options import id_option, ids_of, site_option
from balsam.cli.printable import printable
from balsam.cli.table import render
from balsam.client.errors import NotFoundError
from balsam.sdk.query import IDS_PER_REQUEST, cut


@click.command("why")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE")
@click.option("-s", "--state", help="Only jobs in this state.")
@click.option("-ns", "--exclude-state", help="Only jobs not in this state.")
@id_option("-i", "--id", help="These jobs.")
@click.option("-w", "--workdir", help="Only jobs whose workdir contains this.")
@click.option("-a", "--app", "app_str", help="Only jobs of this app (name or id).")
@site_option()
def job_why(
    ids: tuple[str, ...],
    tags: tuple[str, ...],
    state: str | None,
    exclude_state: str | None,
    job_ids: list[int],
    workdir: str | None,
    app_str: str | None,
    site_selector: str,
) -> None:
    """Say why a job does not go on; of several, how many wait for which reason, with an example of each.

    Without any choice: of all jobs that have not finished. docs/why.md lists the codes.
    """
    chosen = [*ids_of(ids, "ID"), *job_ids]
    if len(chosen) == 1 and not (tags or state or exclude_state or workdir or app_str or site_selector):
        click.echo(printable(_of_one_job(chosen[0])))
        return
    filters = job_filters(chosen, tags, state, exclude_state, site_selector, workdir, app_str)
    counts = Job.objects.filter(**filters).why_counts()
    if not counts:
        click.echo("No such jobs, or all of them have finished.")
        return
    sites = {site.id: site.name for site in Site.objects.all()}
    rows = [
        (one.count, sites.get(one.site_id or 0, "-"), one.code, f"E.g.: {one.sentence}") for one in counts
    ]
    click.echo(render(["Jobs", "Site", "Code", "Why"], rows))


def _of_one_job(job_id: int) -> str:
    try:
        return Job.objects.get(id=job_id).why().sentence
    except (Job.DoesNotExist, NotFoundError) as exc:
        raise click.ClickException(f"no job {job_id} (see `balsam job ls`)") from exc


@click.command("why")
@click.argument("batch_job_id", type=int, metavar="ID")
def queue_why(batch_job_id: int) -> None:
    """Say why an allocation is not submitted, does not start or runs nothing, or why it ended."""
    try:
        click.echo(printable(BatchJob.objects.get(id=batch_job_id).why().sentence))
    except (BatchJob.DoesNotExist, NotFoundError) as exc:
        raise click.ClickException(f"no BatchJob {batch_job_id} (see `balsam queue ls`)") from exc


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
