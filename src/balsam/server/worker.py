"""One worker process of a deployed server: builds the application, and ends when it should."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.core.errors import BalsamError
from balsam.server import garbage, logs
from balsam.server.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)
FAILED_PAUSE_SEC = 1.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Called in a fresh process; the supervisor sends it there by pickle."""

    settings: ServerSettings
    shared_metrics: Path

    def __call__(self) -> FastAPI:
        # Here, so that the supervisor, which only sends this object, does without them.
        from sqlalchemy.exc import DBAPIError

        from balsam.server.app import build

        logs.configure(self.settings)
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
        try:
            app = build(self.settings, deployed=True, shared_metrics=self.shared_metrics)
            garbage.collect_rarely()
            return app
        except (BalsamError, DBAPIError) as exc:
            log.error("a worker can't start: %s", exc)
            time.sleep(FAILED_PAUSE_SEC)  # the supervisor tries again at once
            sys.exit(1)


def _end_with_parent() -> None:
    """A worker whose supervisor was killed would keep the port."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
