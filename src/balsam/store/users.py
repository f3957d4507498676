"""Users, their tokens (stored as digests only), and the database's own facts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from balsam.core.clock import now_us
from balsam.core.errors import Conflict
from balsam.store.owner import Owner
from balsam.store.tables import meta, tokens, users


def epoch(conn: Connection) -> str:
    """This database's identity: a cursor from another one is refused."""
    return str(conn.execute(select(meta.c.value).where(meta.c.key == "epoch")).scalar_one())


def create(conn: Connection, username: str, password_hash: str | None) -> int:
    try:
        row = conn.execute(
            insert(users)
            .values(username=username, password_hash=password_hash, created=now_us())
            .returning(users.c.id)
        )
    except IntegrityError:
        raise Conflict("Username already taken") from None
    return int(row.scalar_one())


def by_name(conn: Connection, username: str) -> dict[str, Any] | None:
    row = conn.execute(select(users).where(users.c.username == username)).mappings().first()
    return dict(row) if row else None


def get(conn: Connection, owner: Owner) -> dict[str, Any]:
    query = select(users.c.id, users.c.username).where(users.c.id == owner.user_id)
    return dict(conn.execute(query).mappings().one())


def add_token(
    conn: Connection,
    owner: Owner,
    kind: str,
    token_hash: str,
    expires: int | None,
    site_id: int | None = None,
    login_id: int | None = None,
) -> int:
    row = conn.execute(
        insert(tokens)
        .values(
            owner_id=owner.user_id,
            kind=kind,
            site_id=site_id,
            token_hash=token_hash,
            created=now_us(),
            expires=expires,
            login_id=login_id,
        )
        .returning(tokens.c.id)
    )
    return int(row.scalar_one())


def find_token(conn: Connection, token_hash: str) -> dict[str, Any] | None:
    """Without an owner: it tells who the owner is."""
    row = conn.execute(select(tokens).where(tokens.c.token_hash == token_hash)).mappings().first()
    return dict(row) if row else None


def valid_digests(conn: Connection, digests: Collection[str], now: int) -> set[str]:
    """Those of the digests whose tokens somebody may act with."""
    stmt = select(tokens.c.token_hash).where(
        tokens.c.token_hash.in_(list(digests)),
        tokens.c.revoked.is_(None),
        or_(tokens.c.expires.is_(None), tokens.c.expires >= now),
    )
    return set(conn.execute(stmt).scalars().all())


def site_tokens(conn: Connection, owner: Owner) -> list[dict[str, Any]]:
    query = (
        select(tokens.c.id, tokens.c.site_id, tokens.c.created, tokens.c.revoked)
        .where(tokens.c.owner_id == owner.user_id, tokens.c.kind == "site")
        .order_by(tokens.c.id)
    )
    return [dict(row) for row in conn.execute(query).mappings()]


def revoke_token(conn: Connection, owner: Owner, token_id: int) -> bool:
    stmt = (
        update(tokens)
        .where(tokens.c.owner_id == owner.user_id, tokens.c.id == token_id, tokens.c.kind == "site")
        .values(revoked=now_us())
    )
    return conn.execute(stmt).rowcount == 1


def drop_expired_tokens(conn: Connection, now: int) -> None:
    conn.execute(delete(tokens).where(tokens.c.expires < now))
