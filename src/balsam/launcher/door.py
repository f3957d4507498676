"""The port at which workers join their leader: who does not prove to be one of them does not come in."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator

from balsam.launcher.rendezvous import LEADER, WORKER, NotOurs, greet

log = logging.getLogger(__name__)

GREETINGS = 64  # under way at a time; the rest waits in the port's queue
AGAIN_SEC = 1.0  # before the next one, where this process lacks files or threads


class Door:
    """`fileno()` is readable when there are newcomers; each has proved itself within GREET_SEC in all."""

    def __init__(self, secret: str, expected: int) -> None:
        self._secret = secret
        self._socket = socket.create_server(("", 0), backlog=expected + 16)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._newcomers: deque[socket.socket] = deque()
        self._places = threading.BoundedSemaphore(GREETINGS)
        self._is_closed = False
        threading.Thread(target=self._accept, name="door", daemon=True).start()

    def fileno(self) -> int:
        return self._bell

    @property
    def port(self) -> int:
        number: int = self._socket.getsockname()[1]
        return number

    def newcomers(self) -> Iterator[socket.socket]:
        """Connections to workers, which do not block."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._newcomers:
            yield self._newcomers.popleft()

    def close(self) -> None:
        self._is_closed = True
        # Closing alone does not wake who waits for a connection.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        # The bell stays open: a greeting that is under way may ring it yet.

    def _accept(self) -> None:
        """In a thread of its own, each greeting in another: who does not speak keeps few others waiting."""
        while not self._is_closed:
            self._places.acquire()
            try:
                link, _ = self._socket.accept()
                threading.Thread(target=self._let_in, args=(link,), daemon=True).start()
            except (OSError, RuntimeError) as exc:  # closed; or no files or threads are left for the moment
                self._places.release()
                if not self._is_closed:
                    log.warning("a worker could not be let in: %s", exc)
                    time.sleep(AGAIN_SEC)

    def _let_in(self, link: socket.socket) -> None:
        try:
            greet(link, self._secret, LEADER, WORKER)
        except (OSError, NotOurs) as exc:
            log.warning("a stranger at the workers' port was turned away: %s", exc)
            link.close()
            return
        finally:
            self._places.release()
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._newcomers.append(link)
        with contextlib.suppress(OSError):
            os.eventfd_write(self._bell, 1)
