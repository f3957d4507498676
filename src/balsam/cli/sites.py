"""`balsam site`: folders where jobs run, and the agents that work there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from balsam.api import Site
from balsam.cli.connection import connect
from balsam.cli.listing import FORMED, Form, Listing, Row, View, listing_options
from balsam.cli.options import confirm, refuse_idle, site_option
from balsam.cli.server import start_for_user, stop_command
from balsam.cli.site_logs import site_logs
from balsam.cli.site_places import mv, rename
from balsam.cli.site_removal import rm
from balsam.cli.site_selector import SiteView, checked_name, selected_sites
from balsam.cli.table import minute, render_record
from balsam.client.errors import NotFoundError, ServerRefused
from balsam.client.login import load_login
from balsam.core.clock import UtcDatetime
from balsam.platform.machine import load_machine
from balsam.runtime.settings import notes_on, sample_settings_text
from balsam.runtime.site_folder import (
    SiteFolder,
    create_site_folder,
    publish_settings,
    refuse_used_folder,
    renew_token,
)
from balsam.schemas.agents import AgentOut
from balsam.sdk.context import default_client
from balsam.site.processes import agent_status, start_agent, stop_agent

SITES = Listing(
    columns=(
        *("id", "name", "path", "last_seen", "last_refresh", "creation_date", "allowed_projects"),
        *("allowed_queues", "optional_batch_job_params", "transfer_locations", "globus_endpoint_id"),
        *("nodes", "queued_jobs", "backfill_windows", "active", "agent", "moves_files"),
    ),
    shown=("id", "name", "path", "active", "agent"),
    titles={"id": "ID"},
)
HEARD = timedelta(seconds=2)  # a record that was not touched since it was made: no agent ever told of it
TOKENS = Listing(
    columns=("id", "site", "site_id", "created", "revoked"),
    shown=("id", "site", "created", "revoked"),
    titles={"id": "ID", "created": "Made (UTC)", "revoked": "Revoked (UTC)"},
)


@click.group()
@click.pass_context
def site(context: click.Context) -> None:
    """Folders where jobs run, and their agents."""
    connect(context)


@site.command()
@click.argument("site_path", type=click.Path(path_type=Path))
@click.option("-n", "--name", help="The site's name. Default: the folder's.")
@click.option("--machine", default="local", show_default=True, help="Which machine's settings to begin with.")
def init(site_path: Path, name: str | None, machine: str) -> None:
    """Make a site: its folder, its record on the server and its token."""
    path = site_path.expanduser().absolute()
    name = checked_name(name or path.name)
    refuse_used_folder(path)
    load_machine(machine)  # before a server is started for nothing
    login = load_login()
    if login is None:
        started = start_for_user(None)
        click.echo(f"You had no login: a server of your own is running at {started.status.url}")
        click.echo(f"  data: {started.status.data}\n  stop: {stop_command(None)}")
        connect(click.get_current_context())
    try:
        folder = create_site_folder(
            path, name, default_client(), ca_file=login.ca_file if login else None, machine=machine
        )
    except ServerRefused as exc:
        raise _name_is_taken(name) or exc from exc
    click.echo(f"Site {name} ({folder.site_id}) is ready in {path}")
    click.echo(f"  settings: {folder.settings_path}\n  start its agent: cd {path} && balsam site start")


@site.command()
def start() -> None:
    """Start this site's agent in the background."""
    folder = this_site()
    report = start_agent(folder)
    if not report.started and not agent_status(folder).running:
        raise click.ClickException(report.sentence)
    click.echo(report.sentence)
    _tell_notes(folder)


@site.command()
def stop() -> None:
    """Stop this site's agent and wait for its end."""
    report = stop_agent(this_site())
    if not report.stopped:
        raise click.ClickException(report.sentence)
    click.echo(report.sentence)


@site.command()
@click.option("-v", "--verbose", is_flag=True, help="Everything known of each site.")
@listing_options(SITES)
@site_option(default="all")
def ls(view: View, verbose: bool, site_selector: str) -> None:
    """List sites: all of them, unless --site chooses some."""
    chosen = selected_sites(site_selector or "all")
    sites = list(Site.objects.all() if chosen is None else Site.objects.filter(id=chosen))
    rows = [_row(one) for one in sites]
    if verbose:
        refuse_idle(FORMED, "with --verbose")
        view.show_first(rows, lambda row: render_record(list(row.items())))
        return
    view.show_first(rows)
    if view.form is Form.TEXT:
        for one in sites:
            if one.transfer_locations and one.moves_files is False:
                click.echo(
                    f"Site {one.name} names transfer locations, and this release moves no files.", err=True
                )


@site.command()
def sync() -> None:
    """Publish this site's settings on the server, and restart its agent with them."""
    folder = this_site()
    facts = publish_settings(folder)
    queues = ", ".join(facts.get("allowed_queues", {})) or "none"
    projects = ", ".join(facts.get("allowed_projects", [])) or "none"
    click.echo(f"Published the settings of site {folder.site_id}: queues {queues}; projects {projects}.")
    _tell_notes(folder)
    if not agent_status(folder).running:
        click.echo(f"No agent works at {folder.path}: `balsam site start` starts one.")
        return
    stopped = stop_agent(folder)
    if not stopped.stopped:
        raise click.ClickException(f"{stopped.sentence}, then `balsam site start`: it has the old settings")
    report = start_agent(folder)
    if not report.started:
        raise click.ClickException(report.sentence)
    click.echo(f"Restarted: {report.sentence}")


@site.group()
def token() -> None:
    """Tokens of agents and launchers: list, revoke and renew them."""


@token.command("ls")
@listing_options(TOKENS)
def list_tokens(view: View) -> None:
    """List the tokens of all your sites."""
    names = {one.id: one.name for one in Site.objects.all()}
    tokens = default_client().get("/auth/site-tokens")
    rows = [{**one, "site": names.get(one["site_id"], str(one["site_id"]))} for one in tokens]
    if view.form is Form.TEXT:
        rows = [{**one, "created": minute(one["created"]), "revoked": minute(one["revoked"])} for one in rows]
    view.show_first(rows)


@token.command()
@click.argument("token_id", type=click.IntRange(min=0), metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def revoke(token_id: int, yes: bool) -> None:
    """Revoke a token: what works with it stops at once."""
    confirm(f"Revoke token {token_id}? Agents and launchers that use it stop.", yes)
    try:
        default_client().delete(f"/auth/site-tokens/{token_id}")
    except NotFoundError as exc:
        raise click.ClickException(f"no token {token_id} of a site (see `balsam site token ls`)") from exc
    click.echo(f"Revoked token {token_id}. `balsam site token renew`, in the site's folder, makes another.")


@token.command()
def renew() -> None:
    """Give this site a new token, where the old one was revoked or lost."""
    folder = this_site()
    login = load_login()
    renew_token(folder, default_client(), ca_file=login.ca_file if login else None)
    click.echo(f"Site {folder.site_id} has a new token; its agent takes it at its next start.")


@site.command("sample-settings")
def sample_settings() -> None:
    """Print a settings file with every key explained."""
    click.echo(sample_settings_text(), nl=False)


site.add_command(mv)
site.add_command(rename)
site.add_command(rm)
site.add_command(site_logs)


def _row(one: Site) -> Row:
    heard = heard_at(one.agent, one.creation_date, one.last_refresh)
    return {
        **one.display_dict(),
        "active": "Yes" if SiteView.of(one).is_active(datetime.now(UTC)) and heard else "No",
        "agent": agent_text(one.agent, str(one.path), since(heard) if heard else None),
        "last_seen": since(heard) if heard else "never",
    }


def heard_at(agent: AgentOut | None, created: UtcDatetime, refreshed: UtcDatetime) -> UtcDatetime | None:
    """When anybody told of a site last; None where nobody ever did."""
    if agent is not None:
        return max(refreshed, UtcDatetime.parse(agent.seen))
    return refreshed if refreshed - created > HEARD else None


def agent_text(agent: AgentOut | None, path: str, heard: str | None) -> str:
    """Whether a site's agent works, and where; `heard`: when anybody told of the site."""
    if agent is None:
        return "never ran" if heard is None else f"last told of it {heard}"
    where = f"on {agent.host}" + ("" if agent.path == path else f" in {agent.path}")
    seen = since(UtcDatetime.parse(agent.seen))
    told = {"works": f"works {where}", "stopped": f"stopped {seen}"}.get(
        agent.state, f"last heard of {seen}, {where}"
    )
    if agent.clock_ahead_us:
        side = "ahead of" if agent.clock_ahead_us > 0 else "behind"
        told += f"; its clock is {abs(agent.clock_ahead_us) // 1_000_000} s {side} the server's"
    if agent.trouble:
        told += f"; but: {agent.trouble}"
    if agent.refused is None:
        return told
    return f"{told}; one on {agent.refused.host} in {agent.refused.path} was not let in"


def _tell_notes(folder: SiteFolder) -> None:
    for note in notes_on(folder.settings):
        click.echo(f"Note on {folder.settings_path}: {note}.", err=True)


def this_site() -> SiteFolder:
    """The site folder that the command runs in."""
    folder = SiteFolder.find()
    if folder is None:
        raise click.UsageError("This works inside a site folder: change into one, or set BALSAM_SITE_PATH.")
    return folder


def _name_is_taken(name: str) -> click.ClickException | None:
    for taken in Site.objects.filter(name=name):
        return click.ClickException(
            f"you have a site named {name!r} already, at {taken.path}: give this one another name (-n OTHER)"
        )
    return None


def since(moment: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {name} ago"
    return f"{max(0, int(seconds))} s ago"
