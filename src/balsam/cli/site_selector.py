"""Which sites a command acts on: `--site all | this | active | 3,theta,/projects/x`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from balsam.api import Site
from balsam.runtime.site_folder import SiteFolder

ACTIVE_WITHIN = timedelta(minutes=10)
WORDS = ("all", "this", "active")


@dataclass(frozen=True)
class SiteView:
    """What selecting needs to know of a site."""

    id: int
    name: str
    path: str
    last_refresh: datetime
    works: bool | None = None  # whether its agent does; None for one that tells only of its site

    @classmethod
    def of(cls, site: Site) -> SiteView:
        works = None if site.agent is None else site.agent.state == "works"
        return cls(site.id, site.name, str(site.path), site.last_refresh, works)

    def is_active(self, now: datetime) -> bool:
        """Whether an agent works there, or, of one of release 0.7, told of the site of late."""
        return now - self.last_refresh < ACTIVE_WITHIN if self.works is None else self.works


def checked_name(name: str) -> str:
    """A name that `--site` can choose by; raises click.UsageError for one that means something else there."""
    if name in WORDS or name.isdigit() or "," in name or name != name.strip() or not name:
        raise click.UsageError(
            f"{name!r} can't be a site's name: --site takes numbers for ids, {', '.join(WORDS)} for what "
            "they say, and commas between sites"
        )
    return name


def choose(selector: str, sites: Iterable[SiteView], this_id: int | None, now: datetime) -> list[int]:
    """Ids of the sites that the selector names, ascending; raises click.BadParameter with the reason.

    Words are joined by commas; a number is an id, any other word a site's whole name or a part of its path.
    """
    known = list(sites)
    chosen: set[int] = set()
    words = [word.strip() for word in selector.split(",") if word.strip()]
    if selector and not words:
        raise click.BadParameter(f"{selector!r} names no site", param_hint="--site")
    for word in words or ["all"]:
        matches = _matches(word, known, this_id, now)
        if not matches and word not in ("all", "active"):
            raise click.BadParameter(f"no site matches {word!r} (see `balsam site ls`)", param_hint="--site")
        chosen.update(matches)
    return sorted(chosen)


def _matches(word: str, sites: list[SiteView], this_id: int | None, now: datetime) -> list[int]:
    if word == "all":
        return [site.id for site in sites]
    if word == "active":
        return [site.id for site in sites if site.is_active(now)]
    if word == "this":
        if this_id is None:
            raise click.BadParameter("'this' works inside a site folder only", param_hint="--site")
        return [this_id]
    if word.isdigit():
        return [site.id for site in sites if site.id == int(word)]
    return [site.id for site in sites if word == site.name or word in site.path]


def selected_sites(selector: str) -> list[int] | None:
    """Ids of the selected sites; None means all of the user's."""
    folder = SiteFolder.find()
    if not selector:
        return [folder.site_id] if folder else None
    if selector == "all":
        return None
    views = [SiteView.of(site) for site in Site.objects.all()]
    return choose(selector, views, folder.site_id if folder else None, datetime.now(UTC))


def one_site(selector: str) -> Site:
    """The one selected site; raises click.UsageError where there are none or several."""
    ids = selected_sites(selector)
    sites = list(Site.objects.all() if ids is None else Site.objects.filter(id=ids))
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise click.UsageError("There is no site yet: make one with `balsam site init PATH`.")
    names = ", ".join(f"{site.name} ({site.id})" for site in sites)
    raise click.UsageError(f"More than one site: {names}. Name one with --site.")
