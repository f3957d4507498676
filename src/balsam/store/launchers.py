"""The launchers of allocations, those that have ended, too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from balsam.store.bulk import dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import sessions

SHOWN = 200


def of_batch_job(conn: Connection, owner: Owner, batch_job_id: int) -> list[dict[str, Any]]:
    """The sessions of an allocation's launchers, the oldest first."""
    stmt = select(sessions).where(*mine(sessions, owner), sessions.c.batch_job_id == batch_job_id)
    return dicts(conn.execute(stmt.order_by(sessions.c.id).limit(SHOWN)))
