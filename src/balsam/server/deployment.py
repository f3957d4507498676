"""A deployed server: a folder with its settings, from which it is started, stopped and brought up to date."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from sqlalchemy.exc import DBAPIError

from balsam.core.errors import InvalidSettings
from balsam.core.start import command as start_command
from balsam.logic import pruning
from balsam.logic.pruning import Pruned
from balsam.server import daemon
from balsam.server.app import require_fit
from balsam.server.daemon import DaemonError, Started
from balsam.server.settings import SETTINGS_FILE, Deployment, ServerSettings
from balsam.store import migrate, restoration
from balsam.store.database import Database
from balsam.store.migrate import Schema

START_TIMEOUT_SEC = 120.0
RELOAD_TIMEOUT_SEC = 300.0
MAX_WORKERS = 8  # what `deploy` chooses at most


def create(folder: Path, environment: Mapping[str, str], choices: Mapping[str, Any]) -> Path:
    """Makes the folder and writes its server.yml, private, unless there is one; returns the file's path.

    The database is the one that the environment names, else an SQLite file in the folder.
    """
    folder = folder.expanduser().absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / SETTINGS_FILE
    url = environment.get("BALSAM_DATABASE_URL") or f"sqlite:///{folder / 'balsam.db'}"
    workers = 1 if url.startswith("sqlite") else min(MAX_WORKERS, max(2, os.cpu_count() or 1))
    content = {"database_url": url, "workers": workers, **choices}
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if choices:
            raise DaemonError(f"{file} exists already: change {', '.join(choices)} there") from None
        return file
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        target.write("# Settings of this Balsam server; docs/facility.md explains them.\n")
        target.write(yaml.safe_dump(content, sort_keys=False))
    return file


def up(deployed: Deployment, *, keep_log: bool = True, timeout_sec: float = START_TIMEOUT_SEC) -> Started:
    """Starts the server in the background; returns when it is ready. DaemonError where it can't.

    `keep_log`: what is not logged to `log_dir` goes to the folder's server.log, else nowhere.
    """
    folder, port = deployed.folder, deployed.settings.port
    require_ready(deployed.settings)
    with daemon.locked(folder):
        running = daemon.status(folder)
        if running.running:
            return Started(running, already=True)
        daemon.refuse_taken_port(folder, port)
        daemon.spawn(
            folder,
            port,
            _command(deployed),
            lambda: is_ready(deployed.settings),
            timeout_sec,
            log=daemon.status(folder).log if keep_log else Path(os.devnull),
        )
        return Started(daemon.status(folder), already=False)


def run_here(deployed: Deployment) -> None:
    """Becomes the server: this process goes on as its supervisor, for systemd and containers."""
    with daemon.locked(deployed.folder):
        if daemon.status(deployed.folder).running:
            raise DaemonError(f"the server of {deployed.folder} runs already")
        daemon.note_process(deployed.folder, deployed.settings.port, os.getpid())
    os.execv(sys.executable, _command(deployed))


def down(deployed: Deployment) -> bool:
    """Stops it when its requests are done; False if it did not run."""
    return daemon.stop(deployed.folder, timeout_sec=deployed.settings.stop_sec + 15.0)


def reload(deployed: Deployment, timeout_sec: float = RELOAD_TIMEOUT_SEC) -> None:
    """Replaces all workers, one after the other, by new processes; no request fails."""
    status = daemon.status(deployed.folder)
    if status.pid is None:
        raise DaemonError(f"no server runs for {deployed.folder}: start it with `balsam server up`")
    elders = workers(status.pid)
    os.kill(status.pid, signal.SIGHUP)
    deadline = time.monotonic() + timeout_sec
    while elders & workers(status.pid) or not is_ready(deployed.settings):
        if time.monotonic() > deadline:
            raise DaemonError(f"the workers were not replaced within {timeout_sec:g} s: see {status.log}")
        time.sleep(0.1)


def require_ready(settings: ServerSettings) -> None:
    """Raises a BalsamError with the remedy where these settings or their database can't be served."""
    refuse_unfit(settings)
    with _opened(settings) as db:
        require_fit(db)


def refuse_unfit(settings: ServerSettings) -> None:
    """Raises a BalsamError for a database that can't be used as the settings say."""
    if not settings.is_sqlite:
        return
    if settings.workers > 1:
        raise InvalidSettings(
            f"an SQLite database is served by one process, and workers is {settings.workers}: set workers to "
            "1, or use PostgreSQL (database_url: postgresql://...)"
        )
    path = Database(settings.database_url).path
    if path is None:
        raise InvalidSettings("database_url names no file: sqlite:////absolute/path/balsam.db is expected")
    daemon.refuse_network_filesystem(path.parent)


def upgrade(settings: ServerSettings) -> tuple[Schema, Schema]:
    """Creates or upgrades the database; (what was found, what is there now)."""
    refuse_unfit(settings)
    with _opened(settings) as db:
        return migrate.upgrade(db), migrate.schema(db)


def schema(settings: ServerSettings) -> Schema:
    with _opened(settings) as db:
        return migrate.schema(db)


def restored(settings: ServerSettings) -> str:
    """Makes a restored database fit to be served; the new epoch. See `restoration.begin_anew`."""
    with _opened(settings) as db:
        migrate.schema(db).require_current()
        with db.write() as tx:
            return restoration.begin_anew(tx)


def prune(
    settings: ServerSettings,
    cutoff: int,
    *,
    dry_run: bool,
    on_batch: Callable[[Pruned], object] | None = None,
) -> Pruned:
    """Removes what ended before `cutoff`, whether or not the server runs. See `logic.pruning`."""
    refuse_unfit(settings)
    with _opened(settings) as db:
        require_fit(db)
        return pruning.prune(db, cutoff, dry_run=dry_run, on_batch=on_batch)


def is_ready(settings: ServerSettings, timeout_sec: float = 5.0) -> bool:
    """Whether a server with these settings on this machine takes requests."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=timeout_sec)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _opened(settings: ServerSettings) -> Iterator[Database]:
    """Its database; one that does not answer is told in a sentence without its password."""
    db = Database(settings.database_url, pool=1)
    try:
        yield db
    except DBAPIError as exc:
        where = db.url.render_as_string(hide_password=True)
        reason = " ".join(str(exc.orig).split())
        raise DaemonError(f"the database {where} does not answer as it should: {reason}") from None
    finally:
        db.close()


def _command(deployed: Deployment) -> list[str]:
    command = [*start_command("balsam.server.deployed"), "--data", str(deployed.folder)]
    file = deployed.settings_file
    return command + (["--settings", str(file.absolute())] if file is not None else [])


def workers(pid: int) -> set[int]:
    """The process ids of a supervisor's workers."""
    try:
        return {child.pid for child in psutil.Process(pid).children() if _is_worker(child)}
    except psutil.NoSuchProcess:
        return set()


def _is_worker(child: psutil.Process) -> bool:
    try:
        return "balsam.server.worker" in child.cmdline()
    except psutil.Error:  # it has just ended
        return False
