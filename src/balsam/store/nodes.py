"""The nodes that one owner has now."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from balsam.core.states import JobState
from balsam.store.census import node_weight
from balsam.store.owner import Owner, mine
from balsam.store.tables import jobs, sessions


@dataclass(frozen=True, slots=True)
class Nodes:
    """Those of live launchers, and how many of them runs keep busy that a session holds."""

    available: float
    busy: float


def now(conn: Connection, owner: Owner) -> Nodes:
    live = [*mine(sessions, owner), sessions.c.ended.is_(None)]
    running = [
        *mine(jobs, owner, searched=True),
        jobs.c.state == JobState.running,
        jobs.c.session_id.is_not(None),
    ]
    available = conn.execute(
        select(func.coalesce(func.sum(sessions.c.num_nodes), 0)).where(*live)
    ).scalar_one()
    busy = conn.execute(select(func.coalesce(func.sum(node_weight()), 0)).where(*running)).scalar_one()
    return Nodes(float(available), float(busy))
