"""What an operator can choose."""

from dataclasses import dataclass
from pathlib import Path

from balsam.core.limits import LEASE_SEC, MAX_BODY_BYTES, TOKEN_TTL_SEC, VOUCHED_LEASE_SEC


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`owner`: the one user of an embedded server; None where users register and log in with a password."""

    database_url: str
    owner: str | None = None
    registration: bool = True
    token_ttl_sec: float = TOKEN_TTL_SEC
    lease_sec: float = LEASE_SEC
    vouched_lease_sec: float = VOUCHED_LEASE_SEC
    max_body_bytes: int = MAX_BODY_BYTES
    beat_sec: float = 15.0  # how often a stream says that it is alive

    @classmethod
    def embedded(cls, data: Path, owner: str, *, accounts: bool = False) -> "ServerSettings":
        return cls(database_url=f"sqlite:///{data / 'balsam.db'}", owner=owner, registration=accounts)
