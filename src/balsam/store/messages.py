"""Messages to sessions: what a launcher or agent is asked, and what it answered."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from balsam.core.clock import now_us
from balsam.store.bulk import among, dicts
from balsam.store.owner import Owner, checked, mine
from balsam.store.tables import messages, sessions


def add(conn: Connection, owner: Owner, session: dict[str, Any], values: dict[str, Any]) -> int:
    """A message to a session of the owner; `values`: kind, body, deadline, and the job_id of a single job."""
    given = {"owner_id": owner.user_id, "site_id": session["site_id"], "session_id": session["id"]}
    stmt = insert(messages).values(**given, created=now_us(), **values).returning(messages.c.id)
    return int(conn.execute(stmt).scalar_one())


def open_of(conn: Connection, owner: Owner, session_id: int, now: int) -> list[dict[str, Any]]:
    """What a live session has not answered and still may, oldest first."""
    stmt = (
        select(messages)
        .join(sessions, sessions.c.id == messages.c.session_id)
        .where(
            *mine(messages, owner),
            messages.c.session_id == session_id,
            messages.c.answered.is_(None),
            checked(messages.c.deadline) > now,
            sessions.c.ended.is_(None),
        )
        .order_by(messages.c.id)
    )
    return dicts(conn.execute(stmt))


def answer(
    conn: Connection, owner: Owner, session_id: int, message_id: int, answer: dict[str, Any], now: int
) -> dict[str, Any] | None:
    """Keeps the first answer to a message; the message, or None where there is none for the session."""
    whose = (*mine(messages, owner), messages.c.id == message_id)
    to = checked(messages.c.session_id) == session_id
    stmt = update(messages).where(*whose, to, messages.c.answered.is_(None))
    conn.execute(stmt.values(answered=now, answer=answer))
    found = dicts(conn.execute(select(messages).where(*whose, to)))
    return found[0] if found else None


def get_many(conn: Connection, owner: Owner, wanted: Collection[int]) -> list[dict[str, Any]]:
    stmt = select(messages).where(*mine(messages, owner), among(messages.c.id, wanted))
    return dicts(conn.execute(stmt.order_by(messages.c.id)))


def drop(conn: Connection, owner: Owner, message_id: int) -> None:
    conn.execute(delete(messages).where(*mine(messages, owner), messages.c.id == message_id))


def is_drained(conn: Connection, owner: Owner, batch_job_id: int) -> bool:
    """Whether a launcher of this allocation was ever told to drain."""
    stmt = (
        select(messages.c.id)
        .join(sessions, sessions.c.id == messages.c.session_id)
        .where(*mine(messages, owner), sessions.c.batch_job_id == batch_job_id, messages.c.kind == "drain")
    )
    return conn.execute(stmt.limit(1)).first() is not None


def forget(conn: Connection, before: int) -> None:
    """Drops all whose deadline was before then."""
    conn.execute(delete(messages).where(messages.c.deadline < before))
