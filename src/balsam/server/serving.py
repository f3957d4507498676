"""uvicorn's server, without its clock."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

DATE_SEC = 1.0  # how often the answers' Date is set


class QuietServer(uvicorn.Server):
    """Looks once a second whether it should end, and at once after a signal.

    uvicorn looks ten times a second, which is most of what an idle server costs. `serving` is called as soon
    as connections are taken.
    """

    def __init__(self, config: uvicorn.Config, serving: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._serving = serving
        self._signalled = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # raised when everything has ended
            super().run(sockets)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving()
        # The Date is made anew where the counter is a multiple of ten.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), DATE_SEC)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._signalled.set)
