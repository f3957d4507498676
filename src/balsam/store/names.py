"""Names beside ids, for lists: without the classes and sources of apps, which may be megabytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from balsam.store.bulk import among
from balsam.store.owner import Owner, mine
from balsam.store.tables import apps, jobs, sites

MAX_LISTED = 2_000


@dataclass(frozen=True, slots=True)
class AppName:
    id: int
    name: str
    site_id: int
    description: str


def of_sites(conn: Connection, owner: Owner) -> dict[int, str]:
    """All of the owner's, by name."""
    stmt = select(sites.c.id, sites.c.name).where(*mine(sites, owner)).order_by(sites.c.name)
    return dict(conn.execute(stmt.limit(MAX_LISTED)).all())


def of_apps(conn: Connection, owner: Owner, wanted: Collection[int] | None = None) -> dict[int, AppName]:
    """Those of these ids, or all of the owner's, by name."""
    stmt = select(apps.c.id, apps.c.name, apps.c.site_id, apps.c.description).where(*mine(apps, owner))
    if wanted is not None:
        stmt = stmt.where(among(apps.c.id, wanted))
    rows = conn.execute(stmt.order_by(apps.c.name, apps.c.id).limit(MAX_LISTED))
    return {row.id: AppName(*row) for row in rows}


def jobs_by_app(conn: Connection, owner: Owner, app_ids: Collection[int], limit: int) -> dict[int, int]:
    """How many jobs each app has, counted up to `limit`."""
    counts: dict[int, int] = {}
    for app_id in app_ids:
        some = select(jobs.c.id).where(*mine(jobs, owner), jobs.c.app_id == app_id).limit(limit).subquery()
        counts[app_id] = conn.execute(select(func.count()).select_from(some)).scalar_one()
    return counts
