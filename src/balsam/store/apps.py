"""Apps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from balsam.core.errors import Conflict
from balsam.store.bulk import dicts
from balsam.store.owner import Owner, mine
from balsam.store.paging import Page, paged
from balsam.store.tables import apps, sites


@dataclass(frozen=True, slots=True)
class AppFilter:
    id: Collection[int] | None = None
    site_id: Collection[int] | None = None
    name: str | None = None
    site_path: str | None = None
    site_name: str | None = None


def _where(owner: Owner, f: AppFilter) -> list[ColumnElement[bool]]:
    where = mine(apps, owner, searched=f.id is None)
    if f.id is not None:
        where.append(apps.c.id.in_(f.id))
    if f.site_id is not None:
        where.append(apps.c.site_id.in_(f.site_id))
    if f.name is not None:
        where.append(apps.c.name == f.name)
    if f.site_path is not None:
        matching = select(sites.c.id).where(
            sites.c.owner_id == owner.user_id, sites.c.path.contains(f.site_path, autoescape=True)
        )
        where.append(apps.c.site_id.in_(matching))
    if f.site_name is not None:
        named = select(sites.c.id).where(sites.c.owner_id == owner.user_id, sites.c.name == f.site_name)
        where.append(apps.c.site_id.in_(named))
    return where


def page(conn: Connection, owner: Owner, f: AppFilter, p: Page) -> list[dict[str, Any]]:
    stmt = paged(select(apps).where(*_where(owner, f)), p, apps.c[p.column], apps.c.id)
    return [dict(row) for row in conn.execute(stmt).mappings()]


def count(conn: Connection, owner: Owner, f: AppFilter) -> int:
    return conn.execute(select(func.count()).select_from(apps).where(*_where(owner, f))).scalar_one()


def get(conn: Connection, owner: Owner, app_id: int) -> dict[str, Any] | None:
    row = conn.execute(select(apps).where(*mine(apps, owner), apps.c.id == app_id)).mappings().first()
    return dict(row) if row else None


def create(conn: Connection, owner: Owner, values: dict[str, Any]) -> dict[str, Any]:
    try:
        stmt = insert(apps).values(owner_id=owner.user_id, **values).returning(apps)
        return dict(conn.execute(stmt).mappings().one())
    except IntegrityError:
        raise Conflict("An app with this site_id and name already exists") from None


def change(conn: Connection, owner: Owner, app_id: int, values: dict[str, Any]) -> dict[str, Any] | None:
    stmt = update(apps).where(*mine(apps, owner), apps.c.id == app_id).values(**values).returning(apps)
    try:
        row = conn.execute(stmt).mappings().first()
    except IntegrityError:
        raise Conflict("An app with this site_id and name already exists") from None
    return dict(row) if row else None


def forget_hooks(conn: Connection, owner: Owner, site_id: int) -> None:
    """From now on every hook of the site's apps may exist, so that none is skipped."""
    conn.execute(update(apps).where(*mine(apps, owner), apps.c.site_id == site_id).values(hooks=None))


def lock(conn: Connection, owner: Owner, f: AppFilter, *, to_remove: bool = False) -> list[dict[str, Any]]:
    """The chosen; until the transaction ends nobody removes them or (`to_remove`) makes jobs of them."""
    stmt = select(apps).where(*_where(owner, f)).order_by(apps.c.id)
    return dicts(conn.execute(stmt.with_for_update(read=not to_remove, key_share=not to_remove)))


def remove(conn: Connection, owner: Owner, app_id: int) -> bool:
    return conn.execute(delete(apps).where(*mine(apps, owner), apps.c.id == app_id)).rowcount == 1
