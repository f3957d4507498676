"""Starting, stopping and asking after a server in the background: one per folder.

`start` starts an embedded one, `server.deployment` others.

`server.json` in the data folder keeps the port, so that logins made for it stay valid from one start to the
next, and while the server runs its process id.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from balsam.core.errors import BalsamError
from balsam.core.start import command as start_command

HOST = "127.0.0.1"
START_TIMEOUT_SEC = 60.0
STOP_TIMEOUT_SEC = 20.0
PORT_WAIT_SEC = 2.0
READY_SEC = 8.0  # a server looks at its database for 5 s
MODULES = frozenset({"balsam.server.main", "balsam.server.deployed"})  # what runs as a server
# Below the ports that the kernel hands out for outgoing connections, which could take ours while it is down.
PORTS = range(20_000, 32_000)
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "cifs", "smb3", "smbfs", "ceph", "panfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "9p", "afs", "pvfs2"}
)


class DaemonError(BalsamError):
    """The server could not be started or stopped; the sentence says what to do."""


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the server of a data folder; `pid` and `uptime_sec` are None while it is down."""

    data: Path
    url: str | None
    pid: int | None
    uptime_sec: float | None
    database_bytes: int

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def login(self) -> Path:
        return self.data / "client.yml"


@dataclass(frozen=True)
class Started:
    """The answer of `start`: `already` if the server ran before."""

    status: ServerStatus
    already: bool


@dataclass(frozen=True)
class _Record:
    port: int
    pid: int | None
    started: str | None


def start(data: Path, port: int | None = None, timeout_sec: float = START_TIMEOUT_SEC) -> Started:
    """Starts the server of `data` in the background and returns once it answers.

    Raises DaemonError where the folder or port can't be used or the server ends at once.
    """
    data = data.expanduser().absolute()
    refuse_network_filesystem(data)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    with locked(data):
        running = status(data)
        if running.running:
            _refuse_other_port(running, port)
            return Started(running, already=True)
        chosen = port or _kept_port(data) or free_port()
        refuse_taken_port(data, chosen)
        command = [*start_command("balsam.server.main"), "--data", str(data), "--port", str(chosen)]
        spawn(data, chosen, command, lambda: answers(chosen), timeout_sec, running.log)
        return Started(status(data), already=False)


def stop(data: Path, timeout_sec: float = STOP_TIMEOUT_SEC) -> bool:
    """Stops the server of `data` and waits for its end; False if none was running."""
    data = data.expanduser().absolute()
    if not data.is_dir():
        return False
    with locked(data):
        process = _server_process(data)
        if process is None:
            return False
        _terminate(process, timeout_sec)
        record = _read_record(data)
        if record is not None:
            _write_record(data, _Record(record.port, None, None))
        return True


def status(data: Path) -> ServerStatus:
    """What runs for `data` now; a process id left over by a server that died counts as not running."""
    data = data.expanduser().absolute()
    record = _read_record(data)
    process = _server_process(data)
    return ServerStatus(
        data=data,
        url=f"http://{HOST}:{record.port}" if record else None,
        pid=process.pid if process else None,
        uptime_sec=max(0.0, time.time() - process.create_time()) if process else None,
        database_bytes=sum(_size(data / f"balsam.db{suffix}") for suffix in ("", "-wal")),
    )


def filesystem_of(path: Path, mounts: str) -> str:
    """The type of the filesystem that holds `path`, from the text of /proc/mounts; empty if unknown."""
    best_point, best_type = Path(), ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= len(best_point.parts):
            best_point, best_type = point, fields[2]
    return best_type


def refuse_network_filesystem(data: Path) -> None:
    """Raises DaemonError where SQLite's locks can't be relied on."""
    mounts = Path("/proc/mounts")
    kind = filesystem_of(data.resolve(), mounts.read_text() if mounts.exists() else "")
    if kind in NETWORK_FILESYSTEMS:
        raise DaemonError(
            f"{data} is on a network filesystem ({kind}), where an embedded database can be damaged: "
            "choose a folder on a local disk with --data DIR, or use a server with PostgreSQL"
        )


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    for port in random.sample(PORTS, 200):
        if not _is_taken(port):
            return port
    raise DaemonError("found no free port on 127.0.0.1: name one with --port N")


def answers(port: int, timeout_sec: float = 2.0) -> bool:
    """Whether a Balsam server on loopback answers on this port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_sec)
    try:
        connection.request("GET", "/health")
        body = json.loads(connection.getresponse().read())
        return isinstance(body, dict) and body.get("status") == "ok"
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def why_not_ready(host: str, port: int, timeout_sec: float = READY_SEC) -> str | None:
    """Why a server that runs does not serve, as its own word or that of its silence; None if it does."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_sec)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status == 200:
            return None
        return f"not ready: {content['reason']}"
    except TimeoutError:
        return f"silent: it did not answer within {timeout_sec:g} s. Its log says more; if it hangs, stop it"
    except OSError as exc:
        return f"out of reach at {host}:{port}: {exc.strerror or exc}"
    except (http.client.HTTPException, ValueError, LookupError, TypeError):
        return f"what answers at {host}:{port} is no Balsam server"
    finally:
        connection.close()


def spawn(
    data: Path,
    port: int,
    command: Sequence[str],
    answers: Callable[[], bool],
    timeout_sec: float,
    log: Path,
) -> None:
    """Starts a program as the folder's server and returns when it answers; DaemonError if it does not."""
    before = _read_record(data)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=data,
            umask=0o077,
        )
    # Reaps the server should it end before the process that started it.
    threading.Thread(target=process.wait, name="server-reaper", daemon=True).start()
    note_process(data, port, process.pid)
    deadline = time.monotonic() + timeout_sec
    while not answers():
        if process.poll() is not None:
            if before is None:  # it never ran, and may be set up anew
                (data / "server.json").unlink(missing_ok=True)
            else:
                _write_record(data, _Record(port, None, None))
            raise DaemonError(f"the server ended at once: {_last_line(log)} (all of it: {log})")
        if time.monotonic() > deadline:
            process.terminate()
            raise DaemonError(f"the server did not answer within {timeout_sec:g} s: see {log}")
        time.sleep(0.05)


def note_process(data: Path, port: int, pid: int) -> None:
    """From now on this process is the server of `data`."""
    _write_record(data, _Record(port, pid, datetime.now(UTC).isoformat()))


def _terminate(process: psutil.Process, timeout_sec: float) -> None:
    try:
        process.terminate()
        try:
            process.wait(timeout_sec)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout_sec)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired as exc:
        raise DaemonError(f"process {process.pid} does not end: stop it by hand") from exc


def _server_process(data: Path) -> psutil.Process | None:
    """The live server of `data`; a process that took over an old id is told apart by its command line."""
    record = _read_record(data)
    if record is None or record.pid is None:
        return None
    try:
        process = psutil.Process(record.pid)
        words = process.cmdline()
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    is_ours = MODULES & set(words) and any(_is_same_folder(word, data) for word in words)
    return process if alive and is_ours else None


def _is_same_folder(word: str, data: Path) -> bool:
    """Whether a word of a command line is the folder, however it is spelled."""
    try:
        return word == str(data) or (word.startswith("/") and Path(word).samefile(data))
    except OSError:
        return False


def _kept_port(data: Path) -> int | None:
    record = _read_record(data)
    return record.port if record else None


def _refuse_other_port(running: ServerStatus, port: int | None) -> None:
    if port is not None and running.url != f"http://{HOST}:{port}":
        raise DaemonError(
            f"the server of {running.data} runs already, at {running.url}: "
            "stop it first (balsam server stop) to start it on another port"
        )


def refuse_taken_port(data: Path, port: int) -> None:
    """Raises DaemonError where another program listens."""
    # The threads of a server that was just killed may hold its port a moment longer than its process id.
    deadline = time.monotonic() + PORT_WAIT_SEC
    while (taken := _is_taken(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if taken:
        raise DaemonError(
            f"port {port}, which the server of {data} is to use, is taken by another program: "
            "stop that program, or choose another port with --port N (and log in again)"
        )


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """One start or stop at a time for a data folder."""
    descriptor = os.open(data / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_record(data: Path) -> _Record | None:
    try:
        content: dict[str, Any] = json.loads((data / "server.json").read_text())
        return _Record(int(content["port"]), content.get("pid"), content.get("started"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(data: Path, record: _Record) -> None:
    text = json.dumps({"port": record.port, "pid": record.pid, "started": record.started})
    descriptor, name = tempfile.mkstemp(dir=data, prefix=".server-", suffix=".json")  # made 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    Path(name).replace(data / "server.json")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
