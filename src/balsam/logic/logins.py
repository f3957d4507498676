"""Logging in and staying so: with one long token, as published, or with short ones that are renewed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from balsam.core.clock import now_us
from balsam.core.errors import Unauthorized
from balsam.core.limits import LOGIN_TTL_SEC, REFRESH_GRACE_SEC, SHORT_TOKEN_TTL_SEC, TOKEN_TTL_SEC
from balsam.logic import attempts, passwords
from balsam.logic.users import digest_of
from balsam.store import logins, users
from balsam.store.database import Database, Tx
from balsam.store.owner import Owner

REUSED = (
    "this login was ended since an old refresh token of it came back: somebody uses a copy of the login "
    "file, or a program was cut off while it renewed the login"
)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds: of a published token, of one that can be renewed, and of an unused login that can renew it."""

    token: float = TOKEN_TTL_SEC
    short_token: float = SHORT_TOKEN_TTL_SEC
    login: float = LOGIN_TTL_SEC


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login answers: a token, and with a renewable login what renews it (once)."""

    access: str
    expires: int  # microseconds since 1970 UTC
    refresh: str | None = None


def log_in(
    db: Database, username: str, password: str, address: str, lifetimes: Lifetimes, *, renewable: bool
) -> Tokens:
    """For a user who knows the password; a wrong name and a wrong password look and take the same."""
    tried = attempts.of_password(username, address)
    with db.write() as tx:
        attempts.count(tx, *tried)
    with db.glance() as conn:
        row = users.by_name(conn, username)
    if not passwords.is_right(row["password_hash"] if row else None, password) or row is None:
        raise Unauthorized("Unauthorized")
    with db.write() as tx:
        attempts.forgive(tx, *tried)
        return begin(tx, Owner(row["id"]), "password", lifetimes, renewable=renewable)


def begin(tx: Tx, owner: Owner, method: str, lifetimes: Lifetimes, *, renewable: bool) -> Tokens:
    """A new login."""
    life = lifetimes.login if renewable else lifetimes.token
    login_id = logins.create(tx.conn, owner, method, _after(life))
    return _issue(tx, owner, login_id, lifetimes, renewable=renewable)


def renew(db: Database, refresh_token: str, lifetimes: Lifetimes) -> Tokens:
    """New tokens for a refresh token, which serves once more for a minute: an answer may have been lost.

    Whoever brings it later has a copy that somebody else uses, too: that ends the login.
    """
    token_hash = digest_of(refresh_token)
    with db.write() as tx:
        owner, login_id, reused = _check(tx, token_hash)
        if not reused:
            if not logins.extend(tx.conn, owner, login_id, _after(lifetimes.login)):
                raise Unauthorized("this login has ended")
            return _issue(tx, owner, login_id, lifetimes, renewable=True)
        _end(tx, owner, login_id, REUSED)
    raise Unauthorized(REUSED)


def _check(tx: Tx, token_hash: str) -> tuple[Owner, int, bool]:
    """Whose it is, its login, and whether it comes too late after its first use."""
    row = logins.find_refresh_token(tx.conn, token_hash)
    if row is None:
        raise Unauthorized("Could not validate credentials")
    if row["ended"] is not None:
        raise Unauthorized(row["why_ended"])
    if row["expires"] < now_us():
        raise Unauthorized("this login was not used for too long")
    owner = Owner(row["owner_id"])
    first = logins.use_refresh_token(tx.conn, owner, token_hash)
    # Where somebody else was first just now, the row that was read does not know yet.
    late = row["used"] is not None and now_us() - row["used"] > REFRESH_GRACE_SEC * 1e6
    return owner, row["login_id"], late and not first


def _issue(tx: Tx, owner: Owner, login_id: int, lifetimes: Lifetimes, *, renewable: bool) -> Tokens:
    expires = _after(lifetimes.short_token if renewable else lifetimes.token)
    access = f"bl_{secrets.token_urlsafe(32)}"
    users.add_token(tx.conn, owner, "login", digest_of(access), expires, login_id=login_id)
    if not renewable:
        return Tokens(access, expires)
    refresh = f"br_{secrets.token_urlsafe(32)}"
    logins.add_refresh_token(tx.conn, owner, login_id, digest_of(refresh))
    return Tokens(access, expires, refresh)


def identify(tx: Tx, issuer: str, subject: str, proposed_name: str) -> Owner:
    """The user who this is at the provider; a new one at the first login.

    Never one who registered under the same name: the provider did not say that they are the same person.
    """
    known = logins.owner_of_identity(tx.conn, issuer, subject)
    if known is not None:
        return known
    owner = Owner(users.create(tx.conn, _free_name(tx, proposed_name), None))
    logins.add_identity(tx.conn, owner, issuer, subject)
    return owner


def _free_name(tx: Tx, proposed: str) -> str:
    name, number = proposed, 1
    while users.by_name(tx.conn, name) is not None:
        number += 1
        name = f"{proposed}-{number}"
    return name


def end(db: Database, owner: Owner, login_id: int) -> bool:
    with db.write() as tx:
        return _end(tx, owner, login_id, "this login was ended by its user")


def _end(tx: Tx, owner: Owner, login_id: int, why: str) -> bool:
    tx.changed(owner.user_id, "tokens", 0)
    return logins.end(tx.conn, owner, login_id, why)


def login_of(db: Database, token: str) -> int | None:
    """The login that a token came from; None for tokens that come from none."""
    with db.glance() as conn:
        row = users.find_token(conn, digest_of(token))
    return row["login_id"] if row else None


def _after(seconds: float) -> int:
    return now_us() + int(seconds * 1e6)
