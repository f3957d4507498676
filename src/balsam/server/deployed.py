"""The process of a deployed server: `balsam.server.deployed --data DIR`; it supervises the workers.

It begins twice: once to look at settings and database and to open the port, then anew without what that has
loaded, for a supervisor is to be small beside its workers.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from balsam.core.errors import BalsamError
from balsam.core.start import command as start_command
from balsam.server import logs
from balsam.server.supervisor import Supervisor

log = logging.getLogger(__name__)

METRICS_FOLDER = "metrics"
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when a worker imports it
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class _Log:
    log_dir: Path | None
    log_level: str
    log_format: str


def main() -> None:
    args = _arguments()
    os.umask(0o077)
    if args.socket is None:
        try:
            _begin_anew(args)
        except BalsamError as exc:
            sys.exit(f"Error: {exc}")
    run(args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="balsam.server.deployed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the server")
    parser.add_argument("--settings", type=Path, help="its settings, in place of the folder's server.yml")
    parser.add_argument("--socket", type=int, help="the open port; with it come:")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--one-at-a-time", action="store_true")
    parser.add_argument("--log-dir", type=Path)
    parser.add_argument("--log-level")
    parser.add_argument("--log-format")
    return parser.parse_args()


def _begin_anew(args: argparse.Namespace) -> None:
    """Raises a BalsamError where the settings or their database can't be served."""
    from sqlalchemy import make_url  # here, so that the supervisor does without these

    from balsam.server import deployment, serving_lock
    from balsam.server.settings import load_deployment

    deployed = load_deployment(args.data, args.settings, os.environ)
    settings = deployed.settings
    deployment.require_ready(settings)
    try:
        shared = listening(settings.host, settings.port)
    except OSError as exc:
        sys.exit(f"Error: port {settings.port} of {settings.host} can't be opened: {exc.strerror}")
    if settings.is_sqlite:
        # Not closed, and inherited by what this process becomes: the supervisor holds it as long as it lives.
        serving_lock.take(Path(make_url(settings.database_url).database or "").absolute())
    facts = ["--socket", str(shared.fileno()), "--workers", str(settings.workers)]
    facts += ["--one-at-a-time"] if settings.is_sqlite else []
    facts += ["--log-level", settings.log_level, "--log-format", settings.log_format]
    facts += ["--log-dir", str(settings.log_dir)] if settings.log_dir is not None else []
    os.execv(sys.executable, [*start_command("balsam.server.deployed"), *sys.argv[1:], *facts])


def listening(host: str, port: int) -> socket.socket:
    """The socket that the workers share: what nobody has accepted yet outlives each of them.

    What it accepts sends at once: asyncio takes care of that for sockets of its own only, and an answer that
    waits for the acknowledgement of its headers is 40 ms late.
    """
    shared = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shared.bind((host, port))
    shared.listen(BACKLOG)
    shared.set_inheritable(True)
    return shared


def run(args: argparse.Namespace) -> None:
    """Supervises until a signal ends it."""
    logs.configure(_Log(args.log_dir, args.log_level, args.log_format))
    shared = socket.socket(fileno=args.socket)
    log.info("serving on %s:%d", *shared.getsockname()[:2])
    metrics = args.data / METRICS_FOLDER
    shutil.rmtree(metrics, ignore_errors=True)  # of processes that have ended
    metrics.mkdir(mode=0o700)
    os.environ[METRICS_VARIABLE] = str(metrics)
    command = [*start_command("balsam.server.worker"), "--data", str(args.data)]
    command += ["--settings", str(args.settings)] if args.settings is not None else []
    Supervisor(
        command,
        shared,
        workers=args.workers,
        one_at_a_time=args.one_at_a_time,
        ended=lambda pid: _forget(pid, metrics),
    ).run()


def _forget(pid: int, metrics: Path) -> None:
    """Else the streams of a worker that is gone would count for ever."""
    for file in metrics.glob(f"gauge_live*_{pid}.db"):  # as prometheus_client's mark_process_dead
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
