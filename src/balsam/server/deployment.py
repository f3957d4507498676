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
from balsam.server import daemon, serving_lock
from balsam.server.app import require_fit
from balsam.server.daemon import DaemonError, Started
from balsam.server.settings import SETTINGS_FILE, Deployment, ServerSettings
from balsam.store import migrate, notices, restoration
from balsam.store.database import Database
from balsam.store.migrate import Schema

START_TIMEOUT_SEC = 120.0
RELOAD_TIMEOUT_SEC = 300.0
MAX_WORKERS = 8  # what `deploy` chooses at most


def create(folder: Path, environment: Mapping[str, str], choices: Mapping[str, Any]) -> Path:
    """Makes the folder and writes its server.yml, private; returns the file's path.

    The database is the one that the environment names, else an SQLite file in the folder. A file of an
    attempt whose server never started takes the new choices; later a different one is a DaemonError.
    """
    folder = folder.expanduser().absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / SETTINGS_FILE
    url = environment.get("BALSAM_DATABASE_URL") or f"sqlite:///{folder / 'balsam.db'}"
    workers = 1 if url.startswith("sqlite") else min(MAX_WORKERS, max(2, os.cpu_count() or 1))
    content = {"database_url": url, "workers": workers, **choices}
    if file.exists():
        kept = _kept_settings(file)
        asked = {**choices, **({"database_url": url} if environment.get("BALSAM_DATABASE_URL") else {})}
        others = [name for name, value in asked.items() if kept.get(name) != value]
        if others and has_run(folder):
            raise DaemonError(f"{file} exists already: change {', '.join(others)} there")
        if not others:
            return file
        content = {**kept, **content} if "database_url" in asked else {**kept, **choices}
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        target.write("# Settings of this Balsam server; docs/facility.md explains them.\n")
        target.write(yaml.safe_dump(content, sort_keys=False))
    draft.replace(file)
    return file


def has_run(folder: Path) -> bool:
    """Whether a server was ever started in the folder: before, its settings may still be chosen."""
    return daemon.status(folder).url is not None


def _kept_settings(file: Path) -> dict[str, Any]:
    """What a settings file holds; nothing where it is none, which whoever reads it next will tell."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
    """Makes a restored database fit to be served; the new epoch. See `restoration.begin_anew`.

    Raises a BalsamError while a server runs on it: its streams and leases would go on as before.
    """
    with _opened(settings) as db:
        refuse_live(db)
        migrate.schema(db).require_current()
        with db.write() as tx:
            return restoration.begin_anew(tx)


def refuse_live(db: Database) -> None:
    """Raises a BalsamError where a server runs on this database now."""
    if db.path is not None:
        serving_lock.refuse_served(db.path)
        return
    listeners = notices.listeners(db.readers)
    if listeners:
        raise DaemonError(
            f"{listeners} server process{'es' if listeners > 1 else ''} of Balsam use the database "
            f"{db.url.render_as_string(hide_password=True)} now: stop the server first "
            "(`balsam server down -p DIR`)"
        )


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


def local_address(settings: ServerSettings) -> tuple[str, int]:
    """Host and port at which this machine asks a server with these settings."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host), settings.port


def is_ready(settings: ServerSettings, timeout_sec: float = 5.0) -> bool:
    """Whether a server with these settings on this machine takes requests."""
    connection = http.client.HTTPConnection(*local_address(settings), timeout=timeout_sec)
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
