"""Sites."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from balsam.core.errors import Conflict
from balsam.store.owner import Owner, mine
from balsam.store.paging import Page, paged
from balsam.store.tables import sites


@dataclass(frozen=True, slots=True)
class SiteFilter:
    id: Collection[int] | None = None
    name: str | None = None
    path: str | None = None
    last_refresh_after: int | None = None


def _where(owner: Owner, f: SiteFilter) -> list[ColumnElement[bool]]:
    where = mine(sites, owner, searched=f.id is None)
    if f.id is not None:
        where.append(sites.c.id.in_(f.id))
    if f.name is not None:
        where.append(sites.c.name == f.name)
    if f.path is not None:
        where.append(sites.c.path.contains(f.path, autoescape=True))
    if f.last_refresh_after is not None:
        where.append(sites.c.last_refresh >= f.last_refresh_after)
    return where


def page(conn: Connection, owner: Owner, f: SiteFilter, p: Page) -> list[dict[str, Any]]:
    stmt = paged(select(sites).where(*_where(owner, f)), p, sites.c[p.column], sites.c.id)
    return [dict(row) for row in conn.execute(stmt).mappings()]


def count(conn: Connection, owner: Owner, f: SiteFilter) -> int:
    return conn.execute(select(func.count()).select_from(sites).where(*_where(owner, f))).scalar_one()


def get(conn: Connection, owner: Owner, site_id: int) -> dict[str, Any] | None:
    row = conn.execute(select(sites).where(*mine(sites, owner), sites.c.id == site_id)).mappings().first()
    return dict(row) if row else None


def lock_to_remove(conn: Connection, owner: Owner, site_id: int) -> bool:
    """Whether there is the site; until the transaction ends nobody makes an app of it."""
    stmt = select(sites.c.id).where(*mine(sites, owner), sites.c.id == site_id).with_for_update()
    return conn.execute(stmt).first() is not None


def lock(conn: Connection, owner: Owner, site_id: int) -> dict[str, Any] | None:
    """The site; until the transaction ends nobody else changes it, but for what refers to it."""
    stmt = select(sites).where(*mine(sites, owner), sites.c.id == site_id).with_for_update(key_share=True)
    row = conn.execute(stmt).mappings().first()
    return dict(row) if row else None


def create(conn: Connection, owner: Owner, values: dict[str, Any]) -> dict[str, Any]:
    try:
        stmt = insert(sites).values(owner_id=owner.user_id, **values).returning(sites)
        return dict(conn.execute(stmt).mappings().one())
    except IntegrityError:
        raise Conflict("A site with this name already exists") from None


def change(conn: Connection, owner: Owner, site_id: int, values: dict[str, Any]) -> dict[str, Any] | None:
    stmt = update(sites).where(*mine(sites, owner), sites.c.id == site_id).values(**values).returning(sites)
    try:
        row = conn.execute(stmt).mappings().first()
    except IntegrityError:
        raise Conflict("A site with this name already exists") from None
    return dict(row) if row else None


def remove(conn: Connection, owner: Owner, site_id: int) -> bool:
    return conn.execute(delete(sites).where(*mine(sites, owner), sites.c.id == site_id)).rowcount == 1
