"""`balsam app`: applications known to the server."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff

import click

from balsam.api import Job, Site
from balsam.cli.app_choice import one_app
from balsam.cli.connection import connect
from balsam.cli.listing import FORMED, LISTED, Form, Listing, Row, View, listing_options
from balsam.cli.options import Word, confirm, counted, refuse_idle, site_option
from balsam.cli.printable import printable
from balsam.cli.site_selector import selected_sites
from balsam.cli.table import render_record
from balsam.sdk.apps import App, AppVersion

APPS = Listing(
    columns=(
        "id",
        "name",
        "site",
        "version",
        "site_id",
        "description",
        "parameters",
        "transfers",
        "hooks",
        "isolate",
    ),
    shown=("id", "name", "site", "version"),
    titles={"id": "ID"},
)


VERSIONS = Listing(
    columns=("version", "synced", "by", "changed", "restores", "digest"),
    shown=("version", "synced", "by", "changed", "restores"),
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
    if verbose:
        refuse_idle(FORMED, "with --verbose")
    apps = {one.id: one for one in _select(site_selector)}
    if not apps and view.form is Form.TEXT:
        click.echo("No apps here. An app is made when its first job is submitted, or by its sync().")
        return
    sites = {site.id: site.name for site in Site.objects.all()}
    rows = [{**one.display_dict(), "site": sites.get(one.site_id, "?")} for one in apps.values()]
    if verbose:
        view.show_first(rows, lambda row: _describe(apps[row["id"]]))
    else:
        view.show_first(rows)


@app.command()
@click.argument("app_name", metavar="APP")
@click.option("--source", type=int, metavar="NUMBER", help="Print the source of this version.")
@click.option(
    "--diff", type=int, metavar="NUMBER", help="What its source has that of the one before had not."
)
@listing_options(VERSIONS)
@site_option("-s")
def versions(view: View, app_name: str, source: int | None, diff: int | None, site_selector: str) -> None:
    """List the versions of an app, given by name or id: one for each sync that changed it."""
    if source is not None and diff is not None:
        raise click.UsageError("Choose one of --source and --diff.")
    if source is not None or diff is not None:
        refuse_idle(LISTED, "with --diff" if source is None else "with --source")
    chosen = one_app(app_name, site_selector)
    found = {one.number: one for one in reversed(chosen.versions())}
    if source is not None:
        click.echo(printable(_version(chosen, found, source).source_code.rstrip()))
    elif diff is not None:
        new, old = _version(chosen, found, diff), _version(chosen, found, diff - 1)
        texts = (old.source_code.splitlines(), new.source_code.splitlines())
        names = (f"version {old.number}", f"version {new.number}")
        lines = list(unified_diff(*texts, *names, lineterm=""))
        click.echo(printable("\n".join(lines)) if lines else "Their sources are the same.")
    else:
        view.show_first(_version_row(one) for one in found.values())


def _version(chosen: App, found: Mapping[int, AppVersion], number: int) -> AppVersion:
    if number not in found:
        kept = f"{min(found)} to {max(found)}"
        raise click.ClickException(f"the app {chosen.name} has no version {number}: there are {kept}")
    return found[number]


def _version_row(one: AppVersion) -> Row:
    changed = None if one.changed is None else ", ".join(one.changed) or "its text alone"
    return {
        "version": one.number,
        "synced": "" if one.created is None else one.created.strftime("%Y-%m-%d %H:%M:%S"),
        "by": one.synced_by or "",
        "changed": changed or "",
        "restores": "" if one.restores is None else one.restores,
        "digest": one.digest,
    }


@app.command()
@click.option("-n", "--name", "name_selector", type=Word(), help="The app's name or id.")
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
    fields.append(("Version", one.version))
    fields += [("Parameter", f"{name}: {value}") for name, value in one.parameters.items()]
    fields += [("Transfer", f"{name}: {value}") for name, value in one.transfers.items()]
    return f"{render_record(fields)}\n\n{one.source_code.rstrip()}"
