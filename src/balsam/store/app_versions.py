"""Versions of apps: what each sync that changed something has left."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from balsam.store.bulk import among, dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import app_versions, apps


def add(conn: Connection, owner: Owner, version: dict[str, Any]) -> None:
    conn.execute(insert(app_versions).values(owner_id=owner.user_id, **version))


def forget_before(conn: Connection, owner: Owner, app_id: int, number: int) -> None:
    """Deletes an app's versions below a number."""
    whose = (app_versions.c.owner_id == owner.user_id, app_versions.c.app_id == app_id)
    conn.execute(delete(app_versions).where(*whose, app_versions.c.number < number))


def of_app(conn: Connection, owner: Owner, app_id: int) -> list[dict[str, Any]]:
    """All that are kept, the newest first; none where the app is somebody else's."""
    stmt = (
        select(app_versions)
        .join(apps, apps.c.id == app_versions.c.app_id)
        .where(*mine(apps, owner), app_versions.c.app_id == app_id)
        .order_by(app_versions.c.number.desc())
    )
    return dicts(conn.execute(stmt))


def source(conn: Connection, owner: Owner, app_id: int, number: int) -> str | None:
    """The source text of a version; None where it is not kept."""
    stmt = (
        select(app_versions.c.source_code)
        .join(apps, apps.c.id == app_versions.c.app_id)
        .where(*mine(apps, owner), app_versions.c.app_id == app_id, app_versions.c.number == number)
    )
    found: str | None = conn.execute(stmt).scalar()
    return found


def parts(conn: Connection, owner: Owner, app_id: int, number: int) -> dict[str, str] | None:
    """What the code of a version is made of; None where nobody told, or it is not kept."""
    whose = (app_versions.c.owner_id == owner.user_id, app_versions.c.app_id == app_id)
    stmt = select(app_versions.c.parts).where(*whose, app_versions.c.number == number)
    found: dict[str, str] | None = conn.execute(stmt).scalar()
    return found


def newest_with(conn: Connection, owner: Owner, app_id: int, digest: str) -> int | None:
    """The newest version of an app that had this code."""
    whose = (app_versions.c.owner_id == owner.user_id, app_versions.c.app_id == app_id)
    stmt = select(func.max(app_versions.c.number)).where(*whose, app_versions.c.digest == digest)
    found: int | None = conn.execute(stmt).scalar()
    return found


def current(conn: Connection, owner: Owner, app_ids: Collection[int]) -> dict[int, int]:
    """The number of the version that each app has now."""
    stmt = select(apps.c.id, apps.c.version).where(*mine(apps, owner), among(apps.c.id, app_ids))
    return dict(conn.execute(stmt).all())
