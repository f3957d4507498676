"""`balsam server prune`: jobs that ended long ago are removed, and totals are kept of them."""

from __future__ import annotations

import os
import re
import sys
from datetime import timedelta
from pathlib import Path

import click

from balsam.cli.deployment import path_option, settings_option
from balsam.cli.options import confirm, counted, refuse_idle
from balsam.cli.server import data_option, default_data
from balsam.core.clock import from_us, now_us
from balsam.logic.pruning import Pruned
from balsam.server import deployment
from balsam.server.daemon import DaemonError
from balsam.server.settings import ServerSettings, load, load_deployment

DAYS = {"d": 1, "w": 7, "y": 365}
OLDEST = timedelta(days=365 * 1000)  # further back the calendar ends


class Age(click.ParamType[timedelta]):
    """`90d`, `12w` or `1y`, as a timedelta of at least a day."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no age of days, weeks or years, such as 90d, 12w or 1y", param, context)
        age = timedelta(days=int(found[1]) * DAYS[found[2]])
        if age > OLDEST:
            self.fail(f"{value!r} is longer ago than any job", param, context)
        return age


@click.command()
@click.option("--older-than", "age", type=Age(), required=True, metavar="AGE", help="Such as 90d, 12w or 1y.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_option(required=False)
@settings_option
@data_option
def prune(
    age: timedelta,
    dry_run: bool,
    yes: bool,
    path: Path | None,
    settings_file: Path | None,
    data: Path | None,
) -> None:
    """Remove jobs that ended and were last changed longer ago; all users'.

    With them go their events, runs and transfer items; nothing at a site is touched. Unfinished jobs stay,
    and so do ended ones for which unfinished ones wait. Totals by day, site, app and state are kept, with the
    node-hours (`balsam.analytics.totals`). The server may run meanwhile.

    Which server: -p for a deployed one, else the one whose database BALSAM_DATABASE_URL names, else the one
    of --data, which is by default your own.
    """
    if path is not None or settings_file is not None:
        refuse_idle({"data"}, f"with {'--path' if path is not None else '--settings'}")
    settings = _settings(path, settings_file, data)
    cutoff = now_us() - age // timedelta(microseconds=1)
    when = f"{from_us(cutoff):%Y-%m-%d %H:%M} UTC"
    found = deployment.prune(settings, cutoff, dry_run=True)
    click.echo(f"Ended and not changed since {when}: {_told(found)}.{_kept(found)}")
    if dry_run or not found.jobs:
        return
    confirm("Remove them for good?", yes)
    gone = deployment.prune(settings, cutoff, dry_run=False, on_batch=_show)
    _end_of_progress()
    click.echo(f"Removed {_told(gone)}.")


def _told(found: Pruned) -> str:
    return f"{counted(found.jobs, 'job')}, {counted(found.events, 'event')}, {counted(found.runs, 'run')}"


def _kept(found: Pruned) -> str:
    return f" {counted(found.kept, 'job')} more would, but unfinished jobs need them." if found.kept else ""


def _show(gone: Pruned) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{gone.jobs:,} jobs removed", nl=False, err=True)


def _end_of_progress() -> None:
    if sys.stderr.isatty():
        click.echo(err=True)


def _settings(path: Path | None, settings_file: Path | None, data: Path | None) -> ServerSettings:
    if path is not None:
        return load_deployment(path, settings_file, os.environ).settings
    if settings_file is not None or (data is None and os.environ.get("BALSAM_DATABASE_URL")):
        return load(os.environ, settings_file)
    folder = (data or default_data()).absolute()
    if not (folder / "balsam.db").is_file():
        raise DaemonError(f"{folder} holds no server's database: name one with --path or --data")
    return ServerSettings.embedded(folder, owner="")
