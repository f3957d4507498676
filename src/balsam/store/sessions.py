"""Sessions: leases. Rows stay for ever: they tell which nodes were available when."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, case, func, insert, select, update

from balsam.core.states import BatchJobState
from balsam.store.owner import Owner, mine
from balsam.store.tables import batch_jobs, sessions


def live(conn: Connection, owner: Owner, wanted: Collection[int] | None) -> list[dict[str, Any]]:
    conditions = [*mine(sessions, owner, searched=True), sessions.c.ended.is_(None)]
    if wanted is not None:
        conditions.append(sessions.c.id.in_(list(wanted)))
    stmt = select(sessions).where(*conditions).order_by(sessions.c.id)
    return [dict(row) for row in conn.execute(stmt).mappings()]


def get(conn: Connection, owner: Owner, session_id: int) -> dict[str, Any] | None:
    row = (
        conn.execute(select(sessions).where(*mine(sessions, owner), sessions.c.id == session_id))
        .mappings()
        .first()
    )
    return dict(row) if row else None


def create(conn: Connection, owner: Owner, values: dict[str, Any]) -> dict[str, Any]:
    stmt = insert(sessions).values(owner_id=owner.user_id, **values).returning(sessions)
    return dict(conn.execute(stmt).mappings().one())


def beat(conn: Connection, owner: Owner, session_id: int, now: int, **told: Any) -> dict[str, Any] | None:
    """Renews a live session's lease; None where it has ended. `told`: other columns that it sets."""
    stmt = (
        update(sessions)
        .where(*mine(sessions, owner), sessions.c.id == session_id, sessions.c.ended.is_(None))
        .values(heartbeat=now, **told)
        .returning(sessions)
    )
    row = conn.execute(stmt).mappings().first()
    return dict(row) if row else None


def end(conn: Connection, owner: Owner, session_id: int, ended: int) -> bool:
    stmt = (
        update(sessions)
        .where(*mine(sessions, owner), sessions.c.id == session_id, sessions.c.ended.is_(None))
        .values(ended=ended)
    )
    return conn.execute(stmt).rowcount == 1


def expire(conn: Connection, owner: Owner, session_id: int, heartbeat: int) -> bool:
    """Ends a live session at its last heartbeat, unless it has had another one."""
    stmt = update(sessions).where(
        *mine(sessions, owner),
        sessions.c.id == session_id,
        sessions.c.ended.is_(None),
        sessions.c.heartbeat == heartbeat,
    )
    return conn.execute(stmt.values(ended=heartbeat)).rowcount == 1


def of_batch_jobs(conn: Connection, owner: Owner, batch_job_ids: Collection[int]) -> list[dict[str, Any]]:
    """The live sessions of these allocations."""
    stmt = select(sessions).where(
        *mine(sessions, owner), sessions.c.ended.is_(None), sessions.c.batch_job_id.in_(list(batch_job_ids))
    )
    return [dict(row) for row in conn.execute(stmt).mappings()]


def newest_of_batch_job(conn: Connection, owner: Owner, batch_job_id: int) -> dict[str, Any] | None:
    """The launcher that an allocation has or had last."""
    stmt = select(sessions).where(*mine(sessions, owner), sessions.c.batch_job_id == batch_job_id)
    row = conn.execute(stmt.order_by(sessions.c.id.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def launchers_of(conn: Connection, owner: Owner, batch_job_id: int) -> list[dict[str, Any]]:
    """The launchers that an allocation has or had, the last one of each partition."""
    stmt = select(sessions).where(*mine(sessions, owner), sessions.c.batch_job_id == batch_job_id)
    last = {row["partition"]: dict(row) for row in conn.execute(stmt.order_by(sessions.c.id)).mappings()}
    return list(last.values())


def wrong_clocks(
    conn: Connection, owner: Owner, site_id: int | None, heard_since: int
) -> list[dict[str, Any]]:
    """The live sessions, at one site or at all, whose hosts' clocks are far from the server's."""
    conditions = [] if site_id is None else [sessions.c.site_id == site_id]
    stmt = select(sessions).where(
        *mine(sessions, owner),
        *conditions,
        sessions.c.ended.is_(None),
        sessions.c.heartbeat > heard_since,
        func.coalesce(sessions.c.clock_ahead_us, 0) != 0,
    )
    return [dict(row) for row in conn.execute(stmt.order_by(sessions.c.id)).mappings()]


def tell_ending(conn: Connection, owner: Owner, session_id: int, ending: dict[str, Any]) -> None:
    """Of a session that may have ended."""
    stmt = update(sessions).where(*mine(sessions, owner), sessions.c.id == session_id)
    conn.execute(stmt.values(ending=ending))


def endings(conn: Connection, owner: Owner, batch_job_id: int) -> list[dict[str, Any]]:
    """Why the launchers of an allocation ended, in the order of its partitions; the last one of each."""
    stmt = select(sessions.c.partition, sessions.c.ending).where(
        *mine(sessions, owner), sessions.c.batch_job_id == batch_job_id, sessions.c.ending.is_not(None)
    )
    last = dict(conn.execute(stmt.order_by(sessions.c.id)).all())
    return [last[partition] for partition in sorted(last, key=lambda number: number or 0)]


def fenced_among(conn: Connection, owner: Owner, session_ids: Collection[int]) -> dict[int, bool]:
    """Of those of the sessions that are live, whether each is fenced."""
    stmt = select(sessions.c.id, sessions.c.fenced).where(
        *mine(sessions, owner), sessions.c.id.in_(list(session_ids)), sessions.c.ended.is_(None)
    )
    return dict(conn.execute(stmt).all())


def has_published_agent(conn: Connection, owner: Owner, site_id: int) -> bool:
    """Whether an agent of the published release serves the site: it says of no session that it is fenced."""
    stmt = select(sessions.c.id).where(
        *mine(sessions, owner),
        sessions.c.site_id == site_id,
        sessions.c.batch_job_id.is_(None),
        sessions.c.ended.is_(None),
        sessions.c.fenced.is_(False),
    )
    return conn.execute(stmt.limit(1)).first() is not None


def silent(conn: Connection, before: int) -> list[dict[str, Any]]:
    """For the sweep: every owner's live sessions silent since then, with what vouches for them."""
    stmt = (
        select(sessions, batch_jobs.c.state.label("batch_job_state"), batch_jobs.c.seen)
        .join_from(sessions, batch_jobs, batch_jobs.c.id == sessions.c.batch_job_id, isouter=True)
        .where(sessions.c.ended.is_(None), sessions.c.heartbeat < before)
        .order_by(sessions.c.id)
    )
    return [dict(row) for row in conn.execute(stmt).mappings()]


def live_at(conn: Connection, owner: Owner, site_id: int) -> dict[str, Any] | None:
    """A session of ours at the site, which hears messages: its agent's if there is one, else the newest."""
    stmt = select(sessions).where(
        *mine(sessions, owner),
        sessions.c.site_id == site_id,
        sessions.c.fenced.is_(True),
        sessions.c.ended.is_(None),
    )
    agents_first = case((sessions.c.num_nodes == 0, 0), else_=1)
    row = conn.execute(stmt.order_by(agents_first, sessions.c.id.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def get_many(conn: Connection, owner: Owner, wanted: Collection[int]) -> list[dict[str, Any]]:
    stmt = select(sessions).where(*mine(sessions, owner), sessions.c.id.in_(list(wanted)))
    return [dict(row) for row in conn.execute(stmt.order_by(sessions.c.id)).mappings()]


def agent_seen(conn: Connection, owner: Owner, site_id: int) -> tuple[bool, int | None]:
    """Whether an agent's session lives at the site, and when one was last heard of."""
    stmt = select(func.max(func.coalesce(sessions.c.ended, sessions.c.heartbeat))).where(
        *mine(sessions, owner),
        sessions.c.site_id == site_id,
        sessions.c.batch_job_id.is_(None),
        func.coalesce(sessions.c.num_nodes, 0) == 0,
    )
    last = conn.execute(stmt).scalar()
    alive = conn.execute(stmt.where(sessions.c.ended.is_(None))).scalar()
    return alive is not None, last


def newest_takes(conn: Connection, owner: Owner, site_id: int) -> dict[str, Any] | None:
    """What the newest launcher of a site that has told takes, whether it lives or not."""
    stmt = select(sessions.c.takes).where(
        *mine(sessions, owner), sessions.c.site_id == site_id, sessions.c.takes.is_not(None)
    )
    found: dict[str, Any] | None = conn.execute(stmt.order_by(sessions.c.id.desc()).limit(1)).scalar()
    return found


def vouched(row: dict[str, Any], now: int, fresh_us: int) -> bool:
    """Whether the agent has lately seen the session's allocation running."""
    return (
        row["batch_job_state"] == BatchJobState.running
        and row["seen"] is not None
        and now - row["seen"] < fresh_us
    )
