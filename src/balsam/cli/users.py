"""`balsam login`, `balsam register` and `balsam logout`."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from balsam.cli.listing import LISTED, Form, Listing, View, listing_options
from balsam.cli.options import NoTerminal, can_ask, confirm, counted, flag_of, given_options, refuse_idle
from balsam.cli.server import default_data, serve_login
from balsam.cli.table import minute
from balsam.client import login_flows, tls
from balsam.client.address import address_of
from balsam.client.credentials import replace_login
from balsam.client.errors import AuthError, BrokenLogin, ClientError, NotFoundError, NotLoggedIn
from balsam.client.login import Login, load_login, login_path
from balsam.client.transport import Client
from balsam.core.logins import LoginMethod
from balsam.server import daemon

LOGIN_RETRY_SEC = 5.0
# Absolute: it is needed wherever the login is used.
CA_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)
FLAGS = {
    LoginMethod.PASSWORD: "--username NAME",
    LoginMethod.DEVICE: "--device",
    LoginMethod.BROWSER: "--browser",
}

# Ways to log in, which a server of one's own has no need of.
WAYS = frozenset({"username", "password_file", "device", "browser", "ca_file", "long_token"})
password_file_option = click.option(
    "--password-file",
    type=click.File(encoding="utf-8"),
    help="A file with the password; - for standard input.",
)
LOGINS = Listing(
    columns=("id", "method", "created", "used", "expires", "current", "which"),
    shown=("id", "method", "created", "used", "which"),
    costly=("which",),
    titles={"id": "ID", "created": "Began (UTC)", "used": "Renewed (UTC)", "which": ""},
)


@click.command()
@click.option("-u", "--url", help="The server. Default: the one of the last login, else your own.")
@click.option("-f", "--force", is_flag=True, help="Replace a login for another server.")
@click.option("--username", help="Log in with a password.")
@password_file_option
@click.option("--device", is_flag=True, help="Log in by typing a code into a browser, on any machine.")
@click.option("--browser", is_flag=True, help="Log in by opening an address in a browser, on any machine.")
@click.option("--ca-file", type=CA_FILE, help="Certificates of a private CA.")
@click.option("--long-token", is_flag=True, help="One token for 48 h, as Balsam 0.7 wants it, not renewed.")
def login(
    url: str | None,
    force: bool,
    username: str | None,
    password_file: IO[str] | None,
    device: bool,
    browser: bool,
    ca_file: str | None,
    long_token: bool,
) -> None:
    """Log in to a server, in a way that it offers: by password, or with a browser."""
    current = _current_login(force)
    address = _address(url, current)
    if _log_in_to_own_server(address, force):
        return
    if not address:
        raise click.UsageError("Which server? Give --url, or start one of your own: balsam server start")
    _refuse_replacing(current, address, force)
    ca_file = ca_file or _kept_ca_file(current, address)
    _warn_of_readers(address)
    asked = _asked_for(username is not None or password_file is not None, device, browser)
    with Client(address, ca_file=ca_file, retry_sec=LOGIN_RETRY_SEC) as client:
        method = _chosen(login_flows.offered(client), asked, address)
        if method is LoginMethod.PASSWORD:
            name = username or _ask("Username", "--username")
            password = _password(password_file, twice=False)
            _log_in(client, name, password, ca_file, renewable=not long_token)
        else:
            _log_in_by_browser(client, method, ca_file, renewable=not long_token)


@click.command()
@click.option("-a", "--address", help="The server's URL. Default: the one of the last login.")
@click.option("-u", "--username", help="The new user's name. Default: it is asked for.")
@password_file_option
@click.option("--ca-file", type=CA_FILE, help="Certificates of a private CA.")
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
    url = _address(address, current) or address_of(_ask("Server URL", "--address"))
    _refuse_replacing(current, url, force)
    ca_file = ca_file or _kept_ca_file(current, url)
    _warn_of_readers(url)
    name = username or _ask("Username", "--username")
    password = _password(password_file, twice=True)
    with Client(url, ca_file=ca_file, retry_sec=LOGIN_RETRY_SEC) as client:
        client.post("/auth/password/register", {"username": name, "password": password})
        click.echo(f"Made user {name}.")
        _log_in(client, name, password, ca_file, renewable=True)


@click.command()
@click.option("--list", "show", is_flag=True, help="Only list your open logins.")
@click.option("--id", "login_id", type=click.IntRange(min=0), help="End another login, from the list.")
@click.option("--all", "everywhere", is_flag=True, help="End all your logins, on all machines.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@listing_options(LOGINS)
def logout(view: View, show: bool, login_id: int | None, everywhere: bool, yes: bool) -> None:
    """End this login and forget it. Sites keep their own tokens, and go on."""
    current = load_login()
    if current is None:
        raise NotLoggedIn(str(login_path()))
    if not show:
        refuse_idle(LISTED, "without --list")
    elif login_id is not None or everywhere:
        raise click.UsageError("--list ends nothing: give it without --id and --all.")
    if login_id is not None and everywhere:
        raise click.UsageError("Choose one of --id and --all.")
    with current.client(login_path(), retry_sec=LOGIN_RETRY_SEC) as client:
        if show:
            _show_logins(client, view)
        elif login_id is not None:
            _end_another(client, login_id)
        else:
            _end(client, everywhere, yes)


def _show_logins(client: Client, view: View) -> None:
    rows = [{**one, "which": "this one" if one["current"] else ""} for one in client.get("/auth/logins")]
    if view.form is Form.TEXT:
        rows = [{**one, "created": minute(one["created"]), "used": minute(one["used"])} for one in rows]
    view.show_first(rows)


def _end_another(client: Client, login_id: int) -> None:
    try:
        client.delete(f"/auth/logins/{login_id}")
    except NotFoundError as exc:
        raise click.ClickException(f"no login {login_id} (see `balsam logout --list`)") from exc
    click.echo(f"Ended login {login_id}.")


def _end(client: Client, everywhere: bool, yes: bool) -> None:
    try:
        others = [one for one in client.get("/auth/logins") if everywhere and not one["current"]]
        if others:
            confirm(f"End this login and {counted(len(others), 'other')}, wherever they are used?", yes)
        for one in others:
            client.delete(f"/auth/logins/{one['id']}")
        client.delete("/auth/logins/current")
    except AuthError:
        pass  # it has ended already
    except ClientError as exc:
        login_path().unlink(missing_ok=True)
        raise click.ClickException(
            f"the login is forgotten here, but the server could not end it: {exc}"
        ) from exc
    replace_login(None, login_path())
    click.echo(f"Logged out of {client.api_root}")


def _current_login(force: bool) -> Login | None:
    """The stored login; with `force`, a file that holds none is as good as no file."""
    try:
        return load_login()
    except BrokenLogin:
        if force:
            return None
        raise


def _address(given: str | None, current: Login | None) -> str:
    """As given, else of the stored login; empty without both. Raises BadAddress."""
    if given is not None:
        return address_of(given)
    return current.api_root.rstrip("/") if current else ""


def _kept_ca_file(current: Login | None, address: str) -> str | None:
    """A new login at the same server trusts whom the last one did."""
    return current.ca_file if current is not None and _is_same(current.api_root, address) else None


def _is_same(one: str, other: str) -> bool:
    return address_of(one) == address_of(other)


def _log_in_to_own_server(address: str, force: bool) -> bool:
    """True if the address (or, without one, this user's running server) is the embedded one."""
    status = daemon.status(default_data())
    # Without a scheme its address is read as one with TLS, which it does not have.
    own = {"", status.url, (status.url or "").replace("http://", "https://")}
    if status.url is None or address not in own or not status.login.exists():
        return False
    if not status.running:
        raise click.ClickException("your own server does not run: start it with `balsam server start`")
    idle = [flag_of(one) for one in given_options(click.get_current_context()) if one.name in WAYS]
    if idle:
        click.echo(f"Your own server knows you without {', '.join(idle)}: not used.", err=True)
    serve_login(status, {status.url} if not force else None)
    click.echo(f"Logged in to your own server at {status.url}")
    return True


def _asked_for(password: bool, device: bool, browser: bool) -> LoginMethod | None:
    """The way that the options choose, if any."""
    asked = [method for method, given in zip(LoginMethod, (password, device, browser), strict=True) if given]
    if len(asked) > 1:
        raise click.UsageError("Choose one of a password, --device and --browser.")
    return asked[0] if asked else None


def _chosen(offered: list[LoginMethod], asked: LoginMethod | None, url: str) -> LoginMethod:
    """As asked; else with a browser where that is offered, for institutions come before passwords."""
    by_preference = (LoginMethod.DEVICE, LoginMethod.BROWSER, LoginMethod.PASSWORD)
    for method in (asked,) if asked else by_preference:
        if method in offered:
            return method
    ways = ", ".join(FLAGS[method] for method in offered) or "no way that this version knows"
    raise click.ClickException(f"{url} offers no such login; it offers {ways}")


def _log_in(client: Client, name: str, password: str, ca_file: str | None, *, renewable: bool) -> None:
    try:
        answer = login_flows.by_password(client, name, password, renewable=renewable)
    except AuthError as exc:
        message = f"{client.api_root} does not know this username with this password"
        raise click.ClickException(message) from exc
    _store(client, answer, name, ca_file)


def _log_in_by_browser(client: Client, method: LoginMethod, ca_file: str | None, *, renewable: bool) -> None:
    waiting = login_flows.begin(client, method, renewable=renewable)
    click.echo(f"Open this address in a browser, on any machine, and log in:\n\n  {waiting.address}\n")
    if waiting.page is not None:
        click.echo(f"or open {waiting.page}\nand type the code {waiting.user_code}\n")
    click.echo(f"Allow the login if the page shows {waiting.user_code}.")
    click.echo(f"Waiting, for up to {waiting.expires_in / 60:.0f} minutes ...")
    sys.stdout.flush()
    answer = login_flows.wait(client, waiting)
    with Client(client.api_root, answer["access_token"], ca_file=ca_file, retry_sec=LOGIN_RETRY_SEC) as own:
        name = str(own.get("/auth/password/me")["username"])
    _store(client, answer, name, ca_file)


def _store(client: Client, answer: dict[str, Any], name: str, ca_file: str | None) -> None:
    replace_login(login_flows.login_of(answer, client.api_root, name, ca_file), login_path())
    click.echo(f"Logged in to {client.api_root} as {name} ({login_path()})")


def _refuse_replacing(current: Login | None, url: str, force: bool) -> None:
    if current is not None and not _is_same(current.api_root, url) and not force:
        raise click.UsageError(f"You are logged in to {current.api_root}: give --force to change to {url}.")


def _warn_of_readers(url: str) -> None:
    if tls.is_readable(url):
        click.echo(
            f"Warning: {url} is not encrypted: others on the way can read passwords and tokens.", err=True
        )


def _ask(what: str, flag: str, hide: bool = False, twice: bool = False) -> str:
    if not can_ask():
        raise NoTerminal(f"{what}? There is no terminal to ask on: give {flag}.")
    return str(click.prompt(what, hide_input=hide, confirmation_prompt=twice))


def _password(file: IO[str] | None, twice: bool) -> str:
    if file is None:
        return _ask("Password", "--password-file FILE", hide=True, twice=twice)
    lines = file.read().splitlines()
    if not lines or not lines[0]:
        raise click.UsageError("The password file is empty.")
    return lines[0]
