"""`balsam server deploy` and what belongs to it: a server for many users, from a folder with its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from balsam.cli.options import F, refuse_idle
from balsam.server import deployment
from balsam.server.daemon import Started
from balsam.server.settings import Deployment, ServerSettings, load, load_deployment


def path_option(*, required: bool = True) -> Callable[[F], F]:
    """`--path`: which deployed server."""
    return click.option(
        "-p",
        "--path",
        required=required,
        type=click.Path(file_okay=False, path_type=Path),
        help="The server's folder, with its server.yml.",
    )


settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A settings file (0600), in place of the folder's server.yml.",
)


@click.command()
@path_option()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 8000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
@click.option("--root-path", help="The path below which a proxy shows the server, such as /balsam.")
def deploy(path: Path, **options: Any) -> None:
    """Make a server in a folder, create its database's tables, and start it.

    The database is the one in BALSAM_DATABASE_URL (postgresql://...), without that an SQLite file in the
    folder. All is kept in the folder's server.yml, which only you can read.
    """
    choices = {name: value for name, value in options.items() if value is not None}
    file = deployment.create(path, os.environ, choices)
    deployed = load_deployment(path, None, os.environ)
    click.echo(f"Settings: {file}")
    _tell_upgrade(deployed.settings)
    _tell_start(deployed, deployment.up(deployed))


@click.command()
@path_option()
@settings_option
@click.option("--log/--no-log", default=True, help="Keep a log (in server.log of the folder, or log_dir).")
@click.option("--foreground", is_flag=True, help="Do not return: for systemd and containers.")
def up(path: Path, settings_file: Path | None, log: bool, foreground: bool) -> None:
    """Start a server that was deployed."""
    if foreground:
        refuse_idle({"log"}, "with --foreground")
    deployed = load_deployment(path, settings_file, os.environ)
    if foreground:
        deployment.run_here(deployed)
    _tell_start(deployed, deployment.up(deployed, keep_log=log))


@click.command()
@path_option()
@settings_option
def down(path: Path, settings_file: Path | None) -> None:
    """Stop a deployed server when its requests are done."""
    stopped = deployment.down(load_deployment(path, settings_file, os.environ))
    click.echo("The server has stopped." if stopped else f"No server runs for {path}.")


@click.command()
@path_option()
@settings_option
def reload(path: Path, settings_file: Path | None) -> None:
    """Replace the workers of a deployed server one by one; no request fails."""
    deployment.reload(load_deployment(path, settings_file, os.environ))
    click.echo("All workers were replaced.")


@click.command()
@path_option(required=False)
@settings_option
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 unless the database is current.")
def migrate(path: Path | None, settings_file: Path | None, check: bool) -> None:
    """Create the database's tables, or bring them up to date.

    Without options, the database is the one in BALSAM_DATABASE_URL.
    """
    settings = _settings(path, settings_file)
    if check:
        found = deployment.schema(settings)
        found.require_current()
        click.echo(f"The database is at revision {found.found}, which is current.")
    else:
        _tell_upgrade(settings)


@click.command()
@path_option(required=False)
@settings_option
def restored(path: Path | None, settings_file: Path | None) -> None:
    """Make a database that was restored from a backup fit to be served; its server must not run.

    Streams begin anew, leases count from now, and ids that were given out since the backup are not used
    again.
    """
    deployment.restored(_settings(path, settings_file))
    click.echo("The database is ready: start its server.")


def _settings(path: Path | None, settings_file: Path | None) -> ServerSettings:
    if path is None:
        return load(os.environ, settings_file)
    return load_deployment(path, settings_file, os.environ).settings


def _tell_upgrade(settings: ServerSettings) -> None:
    os.umask(0o077)  # an SQLite file is its owner's alone
    before, after = deployment.upgrade(settings)
    if before.found is None:
        click.echo(f"The database's tables were created, at revision {after.found}.")
    elif before.found == after.found:
        click.echo(f"The database is at revision {after.found}, which is current.")
    else:
        click.echo(f"The database was upgraded from revision {before.found} to {after.found}.")


def _tell_start(deployed: Deployment, started: Started) -> None:
    settings = deployed.settings
    number = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
    state = "runs already" if started.already else f"is running with {number}"
    click.echo(f"The server {state} at {deployed.url}")
    click.echo(f"  log:  {settings.log_dir or deployed.folder}/server.log")
    click.echo(f"  stop: balsam server down -p {deployed.folder}")
