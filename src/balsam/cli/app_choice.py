"""Which app a command means: by id, or by name at the selected sites."""

from __future__ import annotations

from typing import Any

import click

from balsam.api import Site
from balsam.cli.site_selector import selected_sites
from balsam.sdk.apps import App


def apps_named(text: str, site_selector: str) -> list[App]:
    """Apps with this id or name at the selected sites."""
    filters: dict[str, Any] = {"id": int(text)} if text.isdigit() else {"name": text}
    sites = selected_sites(site_selector)
    if sites is not None:
        filters["site_id"] = sites
    return list(App.objects.filter(**filters))


def app_ids_of(text: str, site_selector: str) -> list[int]:
    """Their ids; raises click.UsageError if there are none."""
    apps = apps_named(text, site_selector)
    if not apps:
        raise click.UsageError(f"no app {text!r} here (see `balsam app ls`)")
    return [app.id for app in apps]


def one_app(text: str, site_selector: str) -> App:
    """The one app that is meant; raises click.UsageError if there are none or several."""
    apps = apps_named(text, site_selector)
    if len(apps) == 1:
        return apps[0]
    if not apps:
        raise click.UsageError(f"no app {text!r} here (see `balsam app ls`)")
    sites = {site.id: site.name for site in Site.objects.all()}
    where = ", ".join(f"{sites.get(app.site_id, '?')} (app {app.id})" for app in apps)
    raise click.UsageError(f"several apps named {text!r}, at {where}: choose one with --site or by id")
