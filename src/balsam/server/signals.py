"""What the process does first when it is told to end."""

from __future__ import annotations

import asyncio
import signal
import threading

from balsam.server.watchers import Watchers


def end_streams_at_signals(watchers: Watchers) -> None:
    """Streams end first: uvicorn waits for open answers before it tells the application that it stops.

    Called in the loop of the main thread, when uvicorn's own handlers are in place; elsewhere, nobody sends
    signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stop = signal.getsignal(number)
        if not callable(stop):
            continue

        def end(number: int, frame: object, stop: object = stop) -> None:
            # Not here and now: the code that was interrupted may hold the watchers' lock.
            loop.call_soon_threadsafe(watchers.close)
            stop(number, frame)  # type: ignore[operator]

        signal.signal(number, end)
