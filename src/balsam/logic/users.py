"""Users and tokens. Tokens are random texts; the database keeps only their digests."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import now_us
from balsam.core.errors import NotFound, Unauthorized
from balsam.logic import attempts, passwords
from balsam.logic.attempts import Attempt
from balsam.store import sites, users
from balsam.store.database import Database, Tx
from balsam.store.owner import Owner


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    expires: int | None  # microseconds since 1970 UTC


def register(
    db: Database,
    username: str,
    password: str,
    address: str,
    limit: attempts.Limit = attempts.OF_REGISTRATIONS,
) -> dict[str, Any]:
    """A new user. Counted first: a hash is dear, and a name that is taken tells that somebody has it."""
    with db.write() as tx:
        attempts.count(tx, Attempt(limit, attempts.network_of(address)))
    password_hash = passwords.hash_of(password)
    with db.write() as tx:
        return {"id": users.create(tx.conn, username, password_hash), "username": username}


def login_token(tx: Tx, owner: Owner, ttl_sec: float | None) -> Token:
    """The token of a login; without `ttl_sec` it lasts until the database is deleted."""
    expires = None if ttl_sec is None else now_us() + int(ttl_sec * 1e6)
    text = f"bl_{secrets.token_urlsafe(32)}"
    users.add_token(tx.conn, owner, "login", digest_of(text), expires)
    return Token(text, expires)


def site_token(tx: Tx, owner: Owner, site_id: int) -> tuple[int, str]:
    """(id, text) of a token for one site's agents and launchers, valid until revoked."""
    if owner.site_id is not None or sites.get(tx.conn, owner, site_id) is None:
        raise NotFound("Not found")
    text = f"bs_{secrets.token_urlsafe(32)}"
    return users.add_token(tx.conn, owner, "site", digest_of(text), None, site_id), text


def whose(conn: Connection, text: str) -> tuple[Owner, int | None]:
    """Who may act with this token, and until when; raises Unauthorized where nobody may (any more)."""
    row = users.find_token(conn, digest_of(text))
    if (
        row is None
        or row["revoked"] is not None
        or (row["expires"] is not None and row["expires"] < now_us())
    ):
        raise Unauthorized("Could not validate credentials")
    return Owner(row["owner_id"], row["site_id"]), row["expires"]


def digest_of(text: str) -> str:
    """What the database keeps of a token."""
    # Plain SHA-256 is right for a token of 256 random bits; a slow hash is for passwords.
    return hashlib.sha256(text.encode()).hexdigest()
