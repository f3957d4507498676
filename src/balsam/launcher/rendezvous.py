"""How the workers of one allocation find their leader, and how both make sure of each other.

The leader writes a file that only its owner can read: its addresses, a secret made for this launcher, and the
nodes. Each end then proves that it knows the secret by a digest over both ends' random words; the secret
itself never travels.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import orjson
import psutil

from balsam.runtime.python_rank import RANK_VARIABLES

WORD_BYTES = 32
CONNECT_SEC = 5.0
GREET_SEC = 10.0
LEADER, WORKER = b"leader", b"worker"


class NotOurs(Exception):
    """The other end does not know the secret, or does not speak."""


@dataclass(frozen=True)
class Rendezvous:
    """What a worker has to know. `nodes`: their names, in the order of the line that starts the workers.

    `lease_sec`: of the leader's session. `variables`: names of those that its runs are to have.
    """

    addresses: tuple[str, ...]
    port: int
    secret: str = field(repr=False)
    nodes: tuple[str, ...]
    lease_sec: float
    max_output_bytes: int
    variables: Sequence[str] = ()

    def write(self, path: Path) -> int:
        """A file descriptor whose lock tells others that the leader lives; the file appears complete."""
        draft = path.with_suffix(".draft")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(fd, orjson.dumps(asdict(self)))
        with contextlib.suppress(OSError):  # a filesystem without locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)
        return fd

    @classmethod
    def read(cls, path: Path) -> Self:
        facts = orjson.loads(path.read_bytes())
        return cls(**facts)

    def connect(self) -> socket.socket:
        """A connection to the leader, both ends sure of each other; raises NotOurs, or the last OSError."""
        last: Exception = NotOurs("the leader has no address")
        for address in self.addresses:
            try:
                link = socket.create_connection((address, self.port), CONNECT_SEC)
            except OSError as exc:
                last = exc
                continue
            try:
                greet(link, self.secret, WORKER, LEADER)
                return link
            except (OSError, NotOurs) as exc:
                link.close()
                last = exc
        raise last


def new_secret() -> str:
    return secrets.token_hex(WORD_BYTES)


def greet(link: socket.socket, secret: str, own: bytes, other: bytes) -> None:
    """Both ends show that they know the secret; raises NotOurs, or OSError after GREET_SEC in all."""
    deadline = time.monotonic() + GREET_SEC
    link.settimeout(GREET_SEC)
    word = secrets.token_bytes(WORD_BYTES)
    link.sendall(word)
    theirs = _exactly(link, WORD_BYTES, deadline)
    link.sendall(_proof(secret, own, word, theirs))
    proof = _exactly(link, WORD_BYTES, deadline)
    # Each end's name is in its proof: none can be sent back to where it came from.
    if not hmac.compare_digest(proof, _proof(secret, other, theirs, word)):
        raise NotOurs("it does not know the secret of this launcher")
    link.settimeout(None)


def _proof(secret: str, who: bytes, own_word: bytes, other_word: bytes) -> bytes:
    return hmac.digest(secret.encode(), who + own_word + other_word, "sha256")


def _exactly(link: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        # Of what comes drop by drop each piece has less time than the last.
        link.settimeout(max(0.001, deadline - time.monotonic()))
        piece = link.recv(count - len(data))
        if not piece:
            raise NotOurs("it hung up")
        data += piece
    return data


def own_addresses() -> tuple[str, ...]:
    """Where this host may be reached, the likeliest first."""
    found = [socket.gethostname()]
    for addresses in psutil.net_if_addrs().values():
        found += [address.address for address in addresses if address.family is socket.AF_INET]
    distinct = dict.fromkeys(found)
    return tuple(sorted(distinct, key=lambda address: address.startswith("127.")))


def is_here(node: str, environ: Mapping[str, str]) -> bool:
    """Whether this process is on the node, going by names alone."""
    return node in _own_names(environ) or node.partition(".")[0] in _own_names(environ)


def own_node(nodes: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Which of the nodes this process is on: by its name, else by its place in the launcher's line."""
    for name in _own_names(environ):
        if name in nodes:
            return name
    place = next(
        (environ[name] for name in RANK_VARIABLES if name in environ), "0" if len(nodes) == 1 else ""
    )
    return nodes[int(place)] if place.isdigit() and int(place) < len(nodes) else None


def _own_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    host = socket.gethostname()
    return environ.get("SLURMD_NODENAME", ""), host, host.partition(".")[0]
