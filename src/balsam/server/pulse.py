"""The thread that lets open streams say that they are alive, and ends those whose token is not valid."""

from __future__ import annotations

import itertools
import logging
import threading

from balsam.core.clock import now_us
from balsam.server.context import Server
from balsam.store import users

log = logging.getLogger(__name__)
# Streams beat in turns, or thousands of them would hold up the requests of one moment.
TURNS = 8


class Pulse:
    """Each stream beats once in `beat_sec`, under whatever traffic; its token is looked at as often."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for turn in itertools.count():
            if self._stop.wait(self._server.settings.beat_sec / TURNS):
                return
            try:
                self._beat(turn % TURNS)
            except Exception:
                log.exception("the tokens of open streams could not be looked at; they stay open")

    def _beat(self, turn: int) -> None:
        watchers = [one for one in self._server.watchers.all() if one.number % TURNS == turn]
        if not watchers:
            return
        for watcher in watchers:
            watcher.wake(beat=True)
        with self._server.db.glance() as conn:
            valid = users.valid_digests(conn, {one.token_digest for one in watchers}, now_us())
        for watcher in watchers:
            if watcher.token_digest not in valid:
                watcher.wake(ended=True)
