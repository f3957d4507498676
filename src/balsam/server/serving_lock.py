"""One server for an SQLite database: whoever serves it holds a lock on a file beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from balsam.core.errors import BalsamError


class ServedAlready(BalsamError):
    """Another process serves the database; the sentence names it."""


def lock_path(database: Path) -> Path:
    return database.with_name(f"{database.name}.serving")


def take(database: Path) -> int:
    """Holds the lock until the descriptor that is returned is closed, also across exec; or ServedAlready."""
    descriptor = os.open(lock_path(database), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ServedAlready(
            f"a server runs on {database} already (process {holder}): stop it first (`balsam server stop`, "
            "`balsam server down -p DIR`, or end that process)"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(descriptor, True)
    return descriptor


def refuse_served(database: Path) -> None:
    """Raises ServedAlready where a server runs on the database now."""
    if lock_path(database).exists():
        os.close(take(database))
