"""`balsam app`: applications known to the server."""

from __future__ import annotations

import click

from balsam.api import Job, Site
from balsam.cli.connection import connect
from balsam.cli.listing import Form, Listing, View, listing_options
from balsam.cli.options import confirm, counted, site_option
from balsam.cli.site_selector import selected_sites
from balsam.cli.table import render_record
from balsam.sdk.apps import App

APPS = Listing(
    columns=("id", "name", "site", "site_id", "description", "parameters", "transfers", "hooks", "isolate"),
    shown=("id", "name", "site"),
    titles={"id": "ID"},
)


@click.group()
@click.pass_context
def app(context: click.Context) -> None:
    """Applications known to the server."""
    connect(context)


@app.command()
@click.option("-v", "--verbose", is_flag=True, help="Everything known of each app, with its source.")
@listing_options(APPS)
@site_option("-s")
def ls(view: View, verbose: bool, site_selector: str) -> None:
    """List applications."""
    apps = _select(site_selector)
    if not apps and view.form is Form.TEXT:
        click.echo("No apps here. An app is made when its first job is submitted, or by its sync().")
    elif verbose and view.form is Form.TEXT:
        click.echo("\n\n".join(_describe(one) for one in apps))
    else:
        sites = {site.id: site.name for site in Site.objects.all()}
        view.show_first({**one.display_dict(), "site": sites.get(one.site_id, "?")} for one in apps)


@app.command()
@click.option("-n", "--name", "name_selector", help="The app's name or id.")
@click.option("-a", "--all", "remove_all", is_flag=True, help="Every app of the selected sites.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@site_option("-s")
def rm(name_selector: str | None, remove_all: bool, yes: bool, site_selector: str) -> None:
    """Remove applications, and with them their jobs."""
    if bool(name_selector) == remove_all:
        raise click.UsageError("Name the app with -n NAME, or give --all.")
    apps = [one for one in _select(site_selector) if remove_all or name_selector in (one.name, str(one.id))]
    if not apps:
        raise click.ClickException(f"no app matches {name_selector or 'these sites'!r} (see `balsam app ls`)")
    num_jobs = Job.objects.filter(app_id=[one.id for one in apps]).count()
    names = ", ".join(one.name for one in apps)
    confirm(f"Remove {names}, and with that {counted(num_jobs, 'job')}?", yes)
    for one in apps:
        one.delete()
    click.echo(f"Removed {names}.")


def _select(site_selector: str) -> list[App]:
    ids = selected_sites(site_selector)
    return list(App.objects.all() if ids is None else App.objects.filter(site_id=ids))


def _describe(one: App) -> str:
    fields: list[tuple[str, object]] = [("ID", one.id), ("Name", one.name), ("Site", one.site_id)]
    fields += [("Parameter", f"{name}: {value}") for name, value in one.parameters.items()]
    fields += [("Transfer", f"{name}: {value}") for name, value in one.transfers.items()]
    return f"{render_record(fields)}\n\n{one.source_code.rstrip()}"
