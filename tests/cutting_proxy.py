"""A way to a server that breaks off in the middle of whatever it carries."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from types import TracebackType
from typing import Self

from tests.services import free_port

TIMEOUT_SEC = 30.0


class CuttingProxy:
    """Forwards connections to a port of this machine; each is cut after a random time or number of bytes."""

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._random = random.Random(seed)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.num_cuts = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            # Now and then enough for the largest message.
            budget = self._random.choice([300, 3_000, 30_000, 10**6])
            patience = self._random.uniform(0.05, 1.0)
            threading.Thread(target=self._carry, args=(near, budget, patience), daemon=True).start()

    def _carry(self, near: socket.socket, budget: int, patience: float) -> None:
        there = ("127.0.0.1", self._target)
        with near, contextlib.suppress(OSError), socket.create_connection(there, TIMEOUT_SEC) as far:
            timer = threading.Timer(patience, _end, [far])
            timer.daemon = True
            timer.start()
            threading.Thread(target=_pass_on, args=(near, far), daemon=True).start()
            while budget > 0 and (data := far.recv(min(budget, 4_096))):
                near.sendall(data)
                budget -= len(data)
            self.num_cuts += 1
            for one in (near, far):
                _end(one)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := near.recv(65_536):
            far.sendall(data)
