"""Logins of users, the tokens that renew them, and who a provider's users are here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from balsam.core.clock import now_us
from balsam.store.owner import Owner
from balsam.store.tables import identities, logins, refresh_tokens, tokens


def create(conn: Connection, owner: Owner, method: str, expires: int) -> int:
    now = now_us()
    row = conn.execute(
        insert(logins)
        .values(owner_id=owner.user_id, method=method, created=now, used=now, expires=expires)
        .returning(logins.c.id)
    )
    return int(row.scalar_one())


def open_logins(conn: Connection, owner: Owner) -> list[dict[str, Any]]:
    columns = (logins.c.id, logins.c.method, logins.c.created, logins.c.used, logins.c.expires)
    query = (
        select(*columns)
        .where(logins.c.owner_id == owner.user_id, logins.c.ended.is_(None), logins.c.expires >= now_us())
        .order_by(logins.c.id)
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def extend(conn: Connection, owner: Owner, login_id: int, expires: int) -> bool:
    """Notes a use and holds off whoever would end the login meanwhile; False where it has ended."""
    stmt = (
        update(logins)
        .where(logins.c.owner_id == owner.user_id, logins.c.id == login_id, logins.c.ended.is_(None))
        .values(used=now_us(), expires=expires)
    )
    return conn.execute(stmt).rowcount == 1


def end(conn: Connection, owner: Owner, login_id: int, why: str) -> bool:
    """No token of the login opens anything any more; False where no such login was open."""
    ended = conn.execute(
        update(logins)
        .where(logins.c.owner_id == owner.user_id, logins.c.id == login_id, logins.c.ended.is_(None))
        .values(ended=now_us(), why_ended=why)
    )
    conn.execute(delete(tokens).where(tokens.c.owner_id == owner.user_id, tokens.c.login_id == login_id))
    return ended.rowcount == 1


def add_refresh_token(conn: Connection, owner: Owner, login_id: int, token_hash: str) -> None:
    conn.execute(
        insert(refresh_tokens).values(token_hash=token_hash, owner_id=owner.user_id, login_id=login_id)
    )


def find_refresh_token(conn: Connection, token_hash: str) -> dict[str, Any] | None:
    """The token and its login. Without an owner: it tells who the owner is."""
    login = (logins.c.method, logins.c.expires, logins.c.ended, logins.c.why_ended)
    stmt = (
        select(refresh_tokens, *login)
        .join(logins, logins.c.id == refresh_tokens.c.login_id)
        .where(refresh_tokens.c.token_hash == token_hash)
    )
    row = conn.execute(stmt).mappings().first()
    return dict(row) if row else None


def use_refresh_token(conn: Connection, owner: Owner, token_hash: str) -> bool:
    """Marks the first use; False where the token was used before."""
    stmt = (
        update(refresh_tokens)
        .where(
            refresh_tokens.c.owner_id == owner.user_id,
            refresh_tokens.c.token_hash == token_hash,
            refresh_tokens.c.used.is_(None),
        )
        .values(used=now_us())
    )
    return conn.execute(stmt).rowcount == 1


def owner_of_identity(conn: Connection, issuer: str, subject: str) -> Owner | None:
    stmt = select(identities.c.owner_id).where(identities.c.issuer == issuer, identities.c.subject == subject)
    user_id = conn.execute(stmt).scalar()
    return None if user_id is None else Owner(user_id)


def add_identity(conn: Connection, owner: Owner, issuer: str, subject: str) -> None:
    conn.execute(
        insert(identities).values(owner_id=owner.user_id, issuer=issuer, subject=subject, created=now_us())
    )


def drop_expired(conn: Connection, now: int) -> None:
    conn.execute(delete(logins).where(logins.c.expires < now))
