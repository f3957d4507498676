"""How often anybody may try to log in, or have messages sent.

Counted in the database, which all server processes share.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from balsam.core.clock import now_us
from balsam.core.errors import TooManyAttempts
from balsam.core.limits import REGISTRATION_SEC, REGISTRATIONS_AT_ONCE
from balsam.store import login_attempts
from balsam.store.database import Tx


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` attempts at once, then one every `every_sec`."""

    what: str
    burst: int
    every_sec: float

    @property
    def drop_us(self) -> int:
        return int(self.every_sec * 1e6)


OF_NAME = Limit("failed logins as this user", 10, 30.0)  # from one address
OF_NAME_ANYWHERE = Limit("failed logins as this user from many addresses", 100, 30.0)
OF_ADDRESS = Limit("failed logins from your address", 100, 3.0)
OF_CODES = Limit("wrong codes from your address", 20, 10.0)
OF_REQUESTS = Limit("logins begun from your address", 100, 3.0)
OF_REGISTRATIONS = Limit("registrations from your address", REGISTRATIONS_AT_ONCE, REGISTRATION_SEC)
OF_ALERT_RULES = Limit("changes of alert rules", 60, 30.0)
OF_ALERT_TESTS = Limit("test messages", 10, 30.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that is limited for whoever does it: a user's name, or an address."""

    limit: Limit
    who: str

    @property
    def bucket(self) -> str:
        # A digest: what somebody types as a name may be a password.
        text = f"{self.limit.what}\n{self.who}"
        return hashlib.sha256(text.encode()).hexdigest()


def of_password(name: str, address: str) -> tuple[Attempt, ...]:
    """What a login by password is: from one address alone, nobody can lock a user out everywhere."""
    network = network_of(address)
    return (
        Attempt(OF_NAME, f"{network}\n{name}"),
        Attempt(OF_NAME_ANYWHERE, name),
        Attempt(OF_ADDRESS, network),
    )


def count(tx: Tx, *attempts: Attempt) -> None:
    """Counts them beforehand, so that many at once gain nothing; raises TooManyAttempts."""
    now = now_us()
    for attempt in sorted(attempts, key=lambda one: one.bucket):  # one order for all who lock these rows
        limit = attempt.limit
        wait_us = login_attempts.fill(tx.conn, attempt.bucket, now, limit.drop_us, limit.burst)
        if wait_us is not None:
            raise TooManyAttempts(limit.what, -(-wait_us // 1_000_000))


def forgive(tx: Tx, *attempts: Attempt) -> None:
    """They were none of those that are limited."""
    for attempt in sorted(attempts, key=lambda one: one.bucket):
        login_attempts.give_back(tx.conn, attempt.bucket, attempt.limit.drop_us)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, which one host has to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
