"""`balsam login` and `balsam register`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import IO

import click

from balsam.cli.options import NoTerminal
from balsam.cli.server import default_data, serve_login
from balsam.client.errors import AuthError, BrokenLogin
from balsam.client.login import Login, load_login, login_path, save_login
from balsam.client.transport import Client
from balsam.server import daemon

LOGIN_RETRY_SEC = 5.0


@click.command()
@click.option("-u", "--url", help="The server. Default: the one of the last login, else your own.")
@click.option("-f", "--force", is_flag=True, help="Replace a login for another server.")
@click.option("--username")
@click.option("--password-file", type=click.File(), help="A file with the password; - for standard input.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Certificates of a private CA.")
def login(
    url: str | None, force: bool, username: str | None, password_file: IO[str] | None, ca_file: str | None
) -> None:
    """Log in to a server."""
    current = _current_login(force)
    address = (url or (current.api_root if current else "")).rstrip("/")
    if _log_in_to_own_server(address, force):
        return
    if not address:
        raise click.UsageError("Which server? Give --url, or start one of your own: balsam server start")
    _refuse_replacing(current, address, force)
    name = username or _ask("Username", "--username")
    _log_in(address, name, _password(password_file, twice=False), ca_file)


@click.command()
@click.option("-a", "--address", help="The server's URL. Default: the one of the last login.")
@click.option("-u", "--username")
@click.option("--password-file", type=click.File(), help="A file with the password; - for standard input.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Certificates of a private CA.")
@click.option("-f", "--force", is_flag=True, help="Replace a login for another server.")
def register(
    address: str | None,
    username: str | None,
    password_file: IO[str] | None,
    ca_file: str | None,
    force: bool,
) -> None:
    """Make a user on a server and log in."""
    current = _current_login(force)
    url = (address or (current.api_root if current else "") or _ask("Server URL", "--address")).rstrip("/")
    _refuse_replacing(current, url, force)
    name = username or _ask("Username", "--username")
    password = _password(password_file, twice=True)
    with Client(url, ca_file=ca_file, retry_sec=LOGIN_RETRY_SEC) as client:
        client.post("/auth/password/register", {"username": name, "password": password})
    click.echo(f"Made user {name}.")
    _log_in(url, name, password, ca_file)


def _current_login(force: bool) -> Login | None:
    """The stored login; with `force`, a file that holds none is as good as no file."""
    try:
        return load_login()
    except BrokenLogin:
        if force:
            return None
        raise


def _log_in_to_own_server(address: str, force: bool) -> bool:
    """True if the address (or, without one, this user's running server) is the embedded one."""
    status = daemon.status(default_data())
    if status.url is None or address not in ("", status.url) or not status.login.exists():
        return False
    if not status.running:
        raise click.ClickException("your own server does not run: start it with `balsam server start`")
    serve_login(status, {status.url} if not force else None)
    click.echo(f"Logged in to your own server at {status.url}")
    return True


def _log_in(url: str, name: str, password: str, ca_file: str | None) -> None:
    with Client(url, ca_file=ca_file, retry_sec=LOGIN_RETRY_SEC) as client:
        try:
            answer = client.post_form("/auth/password/login", {"username": name, "password": password})
        except AuthError as exc:
            raise click.ClickException(f"{url} does not know this username with this password") from exc
    expiry = datetime.fromisoformat(answer["expiration"])
    save_login(Login(api_root=url, token=answer["access_token"], token_expiry=expiry, ca_file=ca_file))
    click.echo(f"Logged in to {url} as {name} until {expiry:%Y-%m-%d %H:%M} UTC ({login_path()})")


def _refuse_replacing(current: Login | None, url: str, force: bool) -> None:
    if current is not None and current.api_root != url and not force:
        raise click.UsageError(f"You are logged in to {current.api_root}: give --force to change to {url}.")


def _ask(what: str, flag: str, hide: bool = False, twice: bool = False) -> str:
    if not sys.stdin.isatty():
        raise NoTerminal(f"{what}? There is no terminal to ask on: give {flag}.")
    return str(click.prompt(what, hide_input=hide, confirmation_prompt=twice))


def _password(file: IO[str] | None, twice: bool) -> str:
    if file is None:
        return _ask("Password", "--password-file FILE", hide=True, twice=twice)
    lines = file.read().splitlines()
    if not lines or not lines[0]:
        raise click.UsageError("The password file is empty.")
    return lines[0]
