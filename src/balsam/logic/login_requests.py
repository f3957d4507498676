"""Logging in with a browser, on whatever machine it runs, for a program that waits.

The program gets a device code, which only it knows, and a user code, which a person sees. A browser brings
the user code and goes to the login provider with a `state`; it must be the same browser that comes back
with it. Then its user is asked whether the program may act for them: a link alone, sent by
somebody else, logs nobody in. The program's next question is answered with its tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from balsam.core.clock import now_us
from balsam.core.errors import Invalid
from balsam.core.limits import LOGIN_REQUEST_TTL_SEC
from balsam.core.logins import EXPIRED, PENDING, REFUSED
from balsam.logic import attempts, logins
from balsam.logic.attempts import Attempt
from balsam.logic.logins import Lifetimes, Tokens
from balsam.logic.users import digest_of
from balsam.store import login_requests, users
from balsam.store.database import Database
from balsam.store.owner import Owner

# No vowels, so no words; no letters that look like digits (RFC 8628, 6.1).
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Codes:
    """`device`: for the program alone; `user`: for a person to read and type."""

    device: str
    user: str


@dataclass(frozen=True, slots=True)
class Trip:
    """A browser's way to the provider and back: what it carries, and what follows from that."""

    state: str
    browser: str  # the secret of the browser's cookie

    @property
    def nonce(self) -> str:
        """What the provider's ID token must hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """PKCE: shows the provider that who redeems the code is who asked for it."""
        return self._derived("verifier")

    def _derived(self, purpose: str) -> str:
        # Derived and not stored: the database holds nothing with which a login could be completed.
        digest = hmac.digest(self.browser.encode(), f"{purpose}:{self.state}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at a provider, as its ID token says, and the name that they would like here."""

    issuer: str
    subject: str
    name: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked before a program may act for them."""

    consent: str
    username: str
    user_code: str
    address: str


def start(db: Database, method: str, address: str, *, renewable: bool) -> Codes:
    """A program begins to wait."""
    codes = Codes(secrets.token_urlsafe(32), "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH)))
    with db.write() as tx:
        attempts.count(tx, Attempt(attempts.OF_REQUESTS, attempts.network_of(address)))
        login_requests.create(
            tx.conn,
            method=method,
            device_hash=digest_of(codes.device),
            user_code=codes.user,
            renewable=renewable,
            address=address,
            expires=now_us() + int(LOGIN_REQUEST_TTL_SEC * 1e6),
        )
    return Codes(codes.device, readable(codes.user))


def readable(user_code: str) -> str:
    return f"{user_code[:4]}-{user_code[4:]}"


def depart(db: Database, user_code: str, browser: str | None, address: str) -> Trip:
    """A browser brings a user code and is to go to the provider; raises Invalid where nobody waits for it."""
    trip = Trip(secrets.token_urlsafe(32), browser or secrets.token_urlsafe(32))
    guess = Attempt(attempts.OF_CODES, attempts.network_of(address))
    with db.write() as tx:
        attempts.count(tx, guess)
    with db.write() as tx:
        row = login_requests.by_code(tx.conn, "".join(filter(str.isalnum, user_code)).upper())
        hashes = {"state_hash": digest_of(trip.state), "browser_hash": digest_of(trip.browser)}
        if row is None or not login_requests.send_away(tx.conn, row["id"], **hashes):
            raise Invalid("invalid_client")
        attempts.forgive(tx, guess)
    return trip


def check_return(db: Database, trip: Trip) -> int:
    """The id of the request that the browser comes back for; raises Invalid unless it is the same browser."""
    with db.glance() as conn:
        row = login_requests.by_state(conn, digest_of(trip.state))
    if row is None or row["expires"] < now_us() or not _is_of(row, trip.browser):
        raise Invalid("invalid_state")
    return int(row["id"])


def ask(db: Database, request_id: int, trip: Trip, identity: Identity) -> Question:
    """The browser's user is known: what they are asked."""
    consent = secrets.token_urlsafe(32)
    with db.write() as tx:
        owner = logins.identify(tx, identity.issuer, identity.subject, identity.name)
        if not login_requests.ask(tx.conn, request_id, digest_of(trip.state), owner, digest_of(consent)):
            raise Invalid("invalid_state")
        row = login_requests.by_consent(tx.conn, digest_of(consent))
        assert row is not None
        username = users.get(tx.conn, owner)["username"]
    return Question(consent, username, readable(row["user_code"]), row["address"])


def is_of_device(db: Database, request_id: int, device_code: str) -> bool:
    """Whether who knows this device code began the request."""
    with db.glance() as conn:
        row = login_requests.by_device(conn, digest_of(device_code)) if device_code else None
    return row is not None and bool(row["id"] == request_id)


def refuse(db: Database, request_id: int, trip: Trip) -> None:
    """The provider, or its user there, said no."""
    with db.write() as tx:
        login_requests.refuse(tx.conn, request_id, digest_of(trip.state))


def answer(db: Database, consent: str, browser: str, *, allowed: bool) -> None:
    """What the user said; raises Invalid where nobody asked this browser, or too long ago."""
    consent_hash = digest_of(consent)
    with db.write() as tx:
        row = login_requests.by_consent(tx.conn, consent_hash)
        if row is None or not _is_of(row, browser):
            raise Invalid("invalid_state")
        if not login_requests.answer(tx.conn, row["id"], consent_hash, allowed=allowed):
            raise Invalid("invalid_state")


def collect(db: Database, device_code: str, lifetimes: Lifetimes) -> Tokens:
    """The tokens of a program that was allowed; raises Invalid with an OAuth error code until then."""
    device_hash = digest_of(device_code)
    with db.glance() as conn:
        row = login_requests.by_device(conn, device_hash)
    if row is None:
        raise Invalid("invalid_grant")
    if row["status"] == "refused":
        raise Invalid(REFUSED)
    if row["status"] != "allowed":
        raise Invalid(PENDING if row["expires"] >= now_us() else EXPIRED)
    with db.write() as tx:
        taken = login_requests.take_allowed(tx.conn, device_hash)
        if taken is None:
            raise Invalid("invalid_grant")
        owner = Owner(taken["owner_id"])
        return logins.begin(tx, owner, taken["method"], lifetimes, renewable=taken["renewable"])


def _is_of(row: dict[str, Any], browser: str) -> bool:
    return hmac.compare_digest(row["browser_hash"] or "", digest_of(browser))
