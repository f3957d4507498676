"""`balsam server`: a server of your own, in the background of this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from balsam.cli import entrance
from balsam.cli.lazy_group import LazyCommand, LazyGroup
from balsam.cli.options import F
from balsam.cli.table import render_record
from balsam.client.credentials import replace_login
from balsam.client.login import load_login, login_path
from balsam.server import daemon

OPEN_RETRY_SEC = 5.0
DEPLOYMENT = {
    "deploy": "Make a server for many users in a folder, and start it.",
    "up": "Start a server that was deployed.",
    "down": "Stop a deployed server when its requests are done.",
    "reload": "Replace the workers of a deployed server one by one.",
    "migrate": "Create the database's tables, or bring them up to date.",
    "restored": "Make a database that was restored from a backup fit to be served.",
}


@click.group(
    cls=LazyGroup,
    lazy={
        **{name: LazyCommand("balsam.cli.deployment", name, help) for name, help in DEPLOYMENT.items()},
        "prune": LazyCommand("balsam.cli.prune", "prune", "Remove jobs that ended long ago; keep totals."),
    },
)
def server() -> None:
    """Servers: one of your own (start, stop, status), or one for many users."""


def data_option(function: F) -> F:
    """`--data`: which server."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="The server's data folder. Default: `server` beside your login file (~/.balsam/server).",
    )(function)


@server.command()
@data_option
@click.option("--port", type=click.IntRange(1, 65535), help="Default: a free one, kept from then on.")
def start(data: Path | None, port: int | None) -> None:
    """Start the server; does nothing if it runs."""
    started = start_for_user(data, port)
    status = started.status
    click.echo(f"The server {'runs already' if started.already else 'is running'} at {status.url}")
    click.echo(f"  data: {status.data}\n  log:  {status.log}\n  stop: {stop_command(data)}")


@server.command()
@data_option
def stop(data: Path | None) -> None:
    """Stop the server and wait for its end."""
    folder = data or default_data()
    click.echo("The server has stopped." if daemon.stop(folder) else f"No server runs for {folder}.")


@server.command("open")
@data_option
@click.option("--no-browser", is_flag=True, help="Only say the address and the code.")
def open_pages(data: Path | None, no_browser: bool) -> None:
    """Open the dashboard in a browser: your own server's, logged in; else that of your login's server.

    A server that others share asks for your login in the browser.
    """
    found = daemon.status(data or default_data())
    current = load_login() if data is None else None
    if current is not None and current.api_root != found.url:
        _open_shared(current.api_root, no_browser)
        return
    login = load_login(found.login)
    if not found.running or login is None or found.url is None:
        raise click.ClickException("your own server does not run: start it with `balsam server start`")
    with replace(login, api_root=found.url).client(found.login, retry_sec=OPEN_RETRY_SEC) as client:
        made = client.post("/auth/entry-code", None)
    address, code = f"{found.url}/ui/", made["code"]
    if not no_browser and entrance.open_with(found.data, f"{address}enter", code):
        click.echo(f"Opening {address}")
    click.echo(
        f"In another browser, open {address} and type the code {code}, within {made['expires_in']:.0f} s."
    )


def _open_shared(api_root: str, no_browser: bool) -> None:
    """Pages of a server for many users, which asks for a login of its own."""
    address = f"{api_root.rstrip('/')}/ui/"
    if not no_browser and entrance.open_address(address):
        click.echo(f"Opening {address}: log in there.")
    else:
        click.echo(f"Open {address} in a browser, and log in there.")


@server.command()
@data_option
@click.option("-p", "--path", type=click.Path(file_okay=False, path_type=Path), help="A deployed server.")
def status(data: Path | None, path: Path | None) -> None:
    """Say what runs and whether it answers; exit status 1 if it does not."""
    if data is not None and path is not None:
        raise click.UsageError("--data is for a server of your own, --path for a deployed one: give one.")
    found = daemon.status(path or data or default_data())
    reason = None
    if found.running and found.url is not None:
        reason = daemon.why_not_ready(*_where(path, found))
    state = "not running" if not found.running else "running" if reason is None else f"running, but {reason}"
    fields: list[tuple[str, object]] = [("state", state)]
    if found.pid is not None and found.uptime_sec is not None:
        fields += [("url", found.url), ("pid", found.pid), ("uptime", uptime_text(found.uptime_sec))]
    fields += [("data", found.data), ("database", f"{found.database_bytes / 1e6:.1f} MB"), ("log", found.log)]
    click.echo(render_record(fields))
    if not found.running or reason is not None:
        click.get_current_context().exit(1)


def _where(path: Path | None, found: daemon.ServerStatus) -> tuple[str, int]:
    """The address on which a server of this machine is asked."""
    port = int(str(found.url).rpartition(":")[2])
    if path is None:
        return daemon.HOST, port
    from balsam.server import deployment  # what a server of one's own does not need
    from balsam.server.settings import load_deployment

    return deployment.local_address(load_deployment(path, None, os.environ).settings)


def default_data() -> Path:
    """The data folder of this user's embedded server."""
    return login_path().parent / "server"


def stop_command(data: Path | None) -> str:
    return "balsam server stop" + (f" --data {data}" if data else "")


def start_for_user(data: Path | None, port: int | None = None) -> daemon.Started:
    """Starts the embedded server, and logs this user in unless they are logged in elsewhere."""
    folder = (data or default_data()).absolute()
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = daemon.status(folder)
    started = daemon.start(folder, port)
    serve_login(started.status, {before.url, started.status.url})
    return started


def serve_login(status: daemon.ServerStatus, own_urls: set[str | None] | None) -> None:
    """Makes the embedded server's login the user's: if they have none, it is for one of its own URLs, or
    `own_urls` is None.
    """
    owners = load_login(status.login)
    if owners is None or status.url is None:
        raise daemon.DaemonError(f"the server wrote no login to {status.login}: see {status.log}")
    current = None if own_urls is None else load_login()
    if current is None or own_urls is None or current.api_root in own_urls:
        replace_login(replace(owners, api_root=status.url), login_path())


def uptime_text(seconds: float) -> str:
    """`3 d 4 h`, `4 h 5 min`, `5 min 6 s` or `6 s`."""
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    rest = int(seconds)
    parts: list[str] = []
    for name, size in units:
        number, rest = divmod(rest, size)
        if number or (parts and len(parts) < 2):
            parts.append(f"{number} {name}")
    return " ".join(parts[:2]) or "0 s"
