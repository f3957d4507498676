"""The process of a deployed server: `python -m balsam.server.deployed --data DIR`; it supervises the workers.

uvicorn's own supervisor keeps them: they share one listening socket, so a connection that no worker has taken
yet outlives each of them; SIGHUP replaces them one by one, each new one in service before its elder ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import socket
import sys
from pathlib import Path

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from balsam.core.errors import BalsamError
from balsam.server import logs
from balsam.server.settings import Deployment, load_deployment
from balsam.server.worker import Worker

log = logging.getLogger(__name__)
METRICS_FOLDER = "metrics"
START_SEC = 60  # a worker that has not answered its supervisor for so long is replaced
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when a worker imports it


def main() -> None:
    parser = argparse.ArgumentParser(prog="balsam.server.deployed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the server")
    parser.add_argument("--settings", type=Path, help="its settings, in place of the folder's server.yml")
    parser.add_argument("--checked", action="store_true", help="do not look at the database first")
    args = parser.parse_args()
    os.umask(0o077)
    try:
        deployed = load_deployment(args.data, args.settings, os.environ)
        if args.checked:
            run(deployed)
            return
        check(deployed)
    except BalsamError as exc:
        sys.exit(f"Error: {exc}")
    # The same process without what the check has loaded: a supervisor stays small beside its workers.
    os.execv(sys.executable, [sys.executable, "-m", "balsam.server.deployed", *sys.argv[1:], "--checked"])


def check(deployed: Deployment) -> None:
    """Raises a BalsamError where the database can't be served."""
    from balsam.server import deployment  # here, so that the supervisor does without it

    deployment.require_ready(deployed.settings)


def run(deployed: Deployment) -> None:
    """Serves until a signal ends it; raises a BalsamError where it can't."""
    settings = deployed.settings
    logs.configure(settings)
    metrics = deployed.folder / METRICS_FOLDER
    shutil.rmtree(metrics, ignore_errors=True)  # of processes that have ended
    metrics.mkdir(mode=0o700)
    os.environ[METRICS_VARIABLE] = str(metrics)
    config = uvicorn.Config(
        Worker(settings, metrics),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application knows whom to believe
        timeout_graceful_shutdown=int(settings.stop_sec),
        timeout_worker_healthcheck=START_SEC,
    )
    log.info("serving %s", deployed.url)
    Supervisor(config, metrics, one_at_a_time=settings.is_sqlite).run()


class Supervisor(Multiprocess):
    """`one_at_a_time`: no worker starts beside another, as SQLite needs it; connections wait meanwhile."""

    def __init__(self, config: uvicorn.Config, metrics: Path, *, one_at_a_time: bool) -> None:
        super().__init__(config, [listening(config)])
        self._metrics = metrics
        self._one_at_a_time = one_at_a_time
        self._known: set[int] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        alive = {process.pid for process in self.processes if process.pid is not None}
        for pid in self._known - alive:
            _forget(pid, self._metrics)
        self._known = alive

    def restart_all(self) -> None:
        if not self._one_at_a_time:
            super().restart_all()
            return
        for index, process in enumerate(self.processes):
            process.terminate()
            process.join()
            self.processes[index] = Process(self.config, self.sockets)
            self.processes[index].start()


def listening(config: uvicorn.Config) -> socket.socket:
    """The socket that the workers share.

    What it accepts sends at once: asyncio takes care of that for sockets of its own only, and an answer that
    waits for the acknowledgement of its headers is 40 ms late.
    """
    shared = config.bind_socket()
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return shared


def _forget(pid: int, metrics: Path) -> None:
    """Else the streams of a worker that is gone would count for ever."""
    mark_process_dead(pid, str(metrics))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
