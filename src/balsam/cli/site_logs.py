"""`balsam site logs` and `balsam job logs`: what agent and launchers wrote, read where their files are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click

from balsam.api import Job, Site
from balsam.cli.job_choice import no_jobs
from balsam.cli.listing import json_text
from balsam.cli.options import site_option
from balsam.cli.printable import printable
from balsam.cli.site_selector import one_site
from balsam.runtime.log_records import Record, SiteLogs, Wanted
from balsam.runtime.site_folder import NoSiteHere, SiteFolder

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
LOOK_SEC = 1.0  # between two looks at files that are followed
LINES = 50


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now; Ctrl-C ends it.")
@click.option(
    "--level",
    type=click.Choice(list(LEVELS), case_sensitive=False),
    default="DEBUG",
    help="Only records of this level or a higher one.",
)
@click.option("--job", "job_id", type=int, metavar="ID", help="Only records that name this job.")
@click.option(
    *("-n", "--lines", "--limit"),
    type=click.IntRange(min=0),
    default=LINES,
    show_default=True,
    help="The last LINES records; 0 for all.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON: source, level, time, text.")
@site_option()
def site_logs(
    follow: bool, level: str, job_id: int | None, lines: int, as_json: bool, site_selector: str
) -> None:
    """Show what a site's agent and launchers have logged, by time; inside its folder, or on its machine."""
    folder = SiteFolder.find() if not site_selector or site_selector == "this" else None
    if folder is None:
        folder = folder_of(one_site(site_selector), "balsam site logs")
    floor = LEVELS[level.upper()]
    shown = _show(
        folder,
        lambda one: (one.level >= floor or not one.level) and (job_id is None or one.concerns(job_id)),
        follow,
        lines,
        as_json,
    )
    if not shown and not as_json:
        click.echo(f"No such record in {folder.log_path}.", err=True)


@click.command("logs")
@click.argument("job_id", type=int)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now; Ctrl-C ends it.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: source, level, time, text.")
def job_logs(job_id: int, follow: bool, as_json: bool) -> None:
    """Show what agent and launchers have logged of a job; on its site's machine.

    What the job itself writes: balsam job tail. What happened to it: balsam job ls --history.
    """
    try:
        job = Job.objects.get(id=job_id)
    except Job.DoesNotExist as exc:
        raise no_jobs([job_id]) from exc
    folder = SiteFolder.find()
    if folder is None or folder.site_id != job.site_id:
        folder = folder_of(Site.objects.get(id=job.site_id), f"balsam job logs {job_id}")
    if not _show(folder, lambda one: one.concerns(job_id), follow, 0, as_json) and not as_json:
        click.echo(f"No log in {folder.log_path} names job {job_id}.", err=True)


def folder_of(site: Site, command: str) -> SiteFolder:
    """The folder of a site on this machine; raises click.ClickException saying where the command works."""
    try:
        folder = SiteFolder(site.path)
        is_it = folder.site_id == site.id
    except (NoSiteHere, OSError):
        is_it = False
    if not is_it:
        raise click.ClickException(
            f"the logs of site {site.name} are in {site.path / 'log'} on its machine: run `{command}` there"
        )
    return folder


def _show(folder: SiteFolder, is_wanted: Wanted, follow: bool, last: int, as_json: bool) -> int:
    """Prints the chosen records; how many. Those of a site that is followed come until Ctrl-C."""
    logs = SiteLogs(folder.log_path, folder.settings.logging)
    found = logs.last(last or None, is_wanted, finish=not follow)
    if as_json and not follow:
        click.echo(json_text([_fields(one) for one in found]))
        return len(found)
    for record in found:
        _print(record, as_json)
    if follow:
        try:
            for record in _new_records(logs, is_wanted):
                _print(record, as_json)
        except KeyboardInterrupt:
            pass
    return len(found)


def _new_records(logs: SiteLogs, is_wanted: Wanted) -> Iterator[Record]:
    while True:
        sys.stdout.flush()
        time.sleep(LOOK_SEC)
        yield from logs.fresh(is_wanted)


def _fields(record: Record) -> dict[str, object]:
    levels = {number: name for name, number in LEVELS.items()}
    return {
        "source": record.source,
        "level": levels.get(record.level),
        "time": record.time or None,
        "text": record.text,
    }


def _print(record: Record, as_json: bool) -> None:
    if as_json:
        click.echo(json_text([_fields(record)])[2:-2])
        return
    text = f"{record.source}: {record.text}"
    click.echo(printable(text) if sys.stdout.isatty() else text)
