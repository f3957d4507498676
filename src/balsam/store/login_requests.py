"""Programs that wait to be logged in with a browser. They are nobody's until somebody allows them.

So there is no owner in these statements: a row is found by a text that only its holder knows, of which the
database keeps a digest, or by the code that a person was shown.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from balsam.core.clock import now_us
from balsam.store.owner import Owner
from balsam.store.tables import login_requests


def create(
    conn: Connection,
    *,
    method: str,
    device_hash: str,
    user_code: str,
    renewable: bool,
    address: str,
    expires: int,
) -> None:
    conn.execute(
        insert(login_requests).values(
            method=method,
            status="waiting",
            device_hash=device_hash,
            user_code=user_code,
            renewable=renewable,
            address=address,
            created=now_us(),
            expires=expires,
        )
    )


def by_device(conn: Connection, device_hash: str) -> dict[str, Any] | None:
    return _one(conn, login_requests.c.device_hash == device_hash)


def by_state(conn: Connection, state_hash: str) -> dict[str, Any] | None:
    return _one(conn, login_requests.c.state_hash == state_hash)


def by_code(conn: Connection, user_code: str) -> dict[str, Any] | None:
    return _one(conn, login_requests.c.user_code == user_code)


def by_consent(conn: Connection, consent_hash: str) -> dict[str, Any] | None:
    return _one(conn, login_requests.c.consent_hash == consent_hash)


def _one(conn: Connection, condition: ColumnElement[bool]) -> dict[str, Any] | None:
    row = conn.execute(select(login_requests).where(condition)).mappings().first()
    return dict(row) if row else None


def send_away(conn: Connection, request_id: int, state_hash: str, browser_hash: str) -> bool:
    """The browser goes to the provider and must come back with these; False where nobody waits any more."""
    return _move(
        conn,
        request_id,
        ("waiting", "asked"),
        "waiting",
        None,
        state_hash=state_hash,
        browser_hash=browser_hash,
    )


def ask(conn: Connection, request_id: int, state_hash: str, owner: Owner, consent_hash: str) -> bool:
    """The browser came back as `owner`, who is asked for consent; a state serves once."""
    serves = login_requests.c.state_hash == state_hash
    values = {"owner_id": owner.user_id, "consent_hash": consent_hash, "state_hash": None}
    return _move(conn, request_id, ("waiting",), "asked", serves, **values)


def answer(conn: Connection, request_id: int, consent_hash: str, *, allowed: bool) -> bool:
    serves = login_requests.c.consent_hash == consent_hash
    status = "allowed" if allowed else "refused"
    return _move(conn, request_id, ("asked",), status, serves, consent_hash=None)


def refuse(conn: Connection, request_id: int, state_hash: str) -> bool:
    serves = login_requests.c.state_hash == state_hash
    return _move(conn, request_id, ("waiting",), "refused", serves, state_hash=None)


def _move(
    conn: Connection,
    request_id: int,
    old: tuple[str, ...],
    new: str,
    condition: ColumnElement[bool] | None,
    **values: Any,
) -> bool:
    table = login_requests.c
    conditions = [table.id == request_id, table.status.in_(old), table.expires >= now_us()]
    if condition is not None:
        conditions.append(condition)
    return conn.execute(update(login_requests).where(*conditions).values(status=new, **values)).rowcount == 1


def take_allowed(conn: Connection, device_hash: str) -> dict[str, Any] | None:
    """The request that was allowed, which is over with this."""
    stmt = (
        delete(login_requests)
        .where(login_requests.c.device_hash == device_hash, login_requests.c.status == "allowed")
        .returning(login_requests)
    )
    row = conn.execute(stmt).mappings().first()
    return dict(row) if row else None


def drop_expired(conn: Connection, before: int) -> None:
    conn.execute(delete(login_requests).where(login_requests.c.expires < before))
