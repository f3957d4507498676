"""One worker process of a deployed server, started by its supervisor: serves until it is told to end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from balsam.core.errors import BalsamError
from balsam.server import garbage, logs
from balsam.server.app import build
from balsam.server.deployed import METRICS_FOLDER
from balsam.server.serving import QuietServer
from balsam.server.settings import ServerSettings, load_deployment

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(prog="balsam.server.worker", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--socket", type=int, required=True, help="where connections come in")
    parser.add_argument("--alive", type=int, required=True, help="ends with the supervisor")
    parser.add_argument("--ready", type=int, required=True, help="is told when connections are taken")
    args = parser.parse_args()
    os.umask(0o077)
    threading.Thread(target=_end_with_supervisor, args=[args.alive], name="supervisor", daemon=True).start()
    settings = load_deployment(args.data, args.settings, os.environ).settings
    logs.configure(settings)
    app = _built(settings, args.data / METRICS_FOLDER)
    QuietServer(_config(app, settings), lambda: _tell(args.ready)).run([socket.socket(fileno=args.socket)])


def _built(settings: ServerSettings, metrics: Path) -> FastAPI:
    try:
        app = build(settings, deployed=True, shared_metrics=metrics)
    except (BalsamError, DBAPIError) as exc:
        log.error("a worker can't start: %s", exc)
        sys.exit(1)  # the supervisor tries again
    garbage.collect_rarely()
    return app


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application knows whom to believe
        timeout_graceful_shutdown=int(settings.stop_sec),
    )


def _tell(ready: int) -> None:
    os.write(ready, b"1")
    os.close(ready)


def _end_with_supervisor(alive: int) -> None:
    """A worker whose supervisor was killed would keep the port."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
