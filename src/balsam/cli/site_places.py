"""`balsam site mv` and `balsam site rename`: a site gets another folder or another name."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from balsam.api import BatchJob, Site
from balsam.cli.site_selector import checked_name
from balsam.client.errors import ServerRefused
from balsam.core.states import ACTIVE_BATCH_JOB_STATES
from balsam.runtime.site_folder import FolderInUse, SiteFolder, refuse_used_folder
from balsam.sdk.context import default_client
from balsam.site.processes import agent_status

NAMED = 5
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("src", type=FOLDER)
@click.argument("dest", type=click.Path(path_type=Path))
def mv(src: Path, dest: Path) -> None:
    """Move a site to another folder, and tell the server.

    DEST is the new folder, or an existing folder in which the site then is. Neither agent nor allocations
    may work there meanwhile.
    """
    folder = SiteFolder(src.expanduser())
    target = dest.expanduser().absolute()
    if target.is_dir():
        target = target / folder.path.resolve().name
    if target.exists():
        raise FolderInUse(f"{target} exists already: choose another folder")
    if target.resolve().is_relative_to(folder.path.resolve()):
        raise FolderInUse(f"{target} lies inside the site itself: choose a folder outside of it")
    refuse_used_folder(target)
    _refuse_busy(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    site_id, origin = folder.site_id, folder.path.resolve()  # a link stays, and leads nowhere then
    shutil.move(origin, target)
    try:
        default_client().put(f"/sites/{site_id}", {"path": str(target)})
    except BaseException:  # else the server would look for it in vain
        shutil.move(target, origin)
        raise
    click.echo(f"Moved site {site_id} to {target}")


@click.command()
@click.argument("path", type=FOLDER)
@click.argument("name")
def rename(path: Path, name: str) -> None:
    """Give a site another name; its folder stays.

    Scripts that name the site, such as an app's `site = "..."`, need the new name from then on.
    """
    checked_name(name)
    site = Site.objects.get(id=SiteFolder(path.expanduser()).site_id)
    taken = next((one for one in Site.objects.filter(name=name) if one.id != site.id), None)
    if taken is not None:
        raise _is_taken(name, taken)
    old, site.name = site.name, name
    try:
        site.save()
    except ServerRefused as exc:
        for one in Site.objects.filter(name=name):  # taken in the meantime
            raise _is_taken(name, one) from exc
        raise
    click.echo(f"Site {site.id} is named {name} now (was {old}).")


def _is_taken(name: str, taken: Site) -> click.ClickException:
    return click.ClickException(
        f"you have a site named {name!r} already, at {taken.path}: choose another name"
    )


def _refuse_busy(folder: SiteFolder) -> None:
    """What works in a folder holds its path."""
    agent = agent_status(folder)
    if agent.running:
        raise click.ClickException(f"{agent.sentence}: stop it first (balsam site stop, in that folder)")
    active = list(BatchJob.objects.filter(site_id=folder.site_id, state=list(ACTIVE_BATCH_JOB_STATES)))
    if active:
        named = ", ".join(f"{one.id} ({one.state})" for one in active[:NAMED])
        named += f" and {len(active) - NAMED} more" if len(active) > NAMED else ""
        raise click.ClickException(
            f"BatchJobs of this site have not ended, and their launchers work in {folder.path}: {named}. "
            "End them first (balsam queue term --id ID, while the agent works) or wait for their end"
        )
