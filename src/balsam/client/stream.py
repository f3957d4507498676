"""Follow the server's stream across cuts: the cursor is kept, the connection is made anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from balsam.client import retry
from balsam.client.errors import (
    LoginBusy,
    NotLoggedIn,
    ServerFault,
    ServerRefused,
    ServerUnreachable,
    ServerUntrusted,
)
from balsam.client.sse import ServerSentEvent

if TYPE_CHECKING:
    from balsam.client.transport import Client

CUT = ServerSentEvent("cut")
# What ends with time; ServerUntrusted and ServerRefused are raised.
PASSING = (ServerUnreachable, ServerFault, NotLoggedIn, LoginBusy)
T = TypeVar("T")


def follow(
    client: Client,
    path: str = "/stream",
    params: Mapping[str, Any] | None = None,
    stop: threading.Event | None = None,
    cursor: str | None = None,
) -> Iterator[ServerSentEvent]:
    """Messages for ever, from a new connection with the last cursor after each cut.

    `cursor`: where to begin, if not now. Beside the server's own messages it yields `beat` (the server lives)
    and `cut` (the connection is lost: poll, until the next `hello`), so that the caller gets a turn at least
    every 45 s. Ends when `stop` is set; raises ServerRefused (a login that has run out) and ServerUntrusted
    (a certificate that is not trusted here), never for a network that is down.
    """
    failures = 0
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            for message in client.stream(path, {**(params or {}), "cursor": cursor}):
                cursor = _cursor_after(message, cursor)
                failures = 0
                yield message
                if stop.is_set():
                    return
        except (ServerRefused, ServerUntrusted):
            raise
        except PASSING:
            pass
        failures += 1
        yield CUT
        stop.wait(retry.pause(failures))


def patiently(ask: Callable[[], T], stop: threading.Event) -> T | None:
    """The answer to what is asked for as long as the server is away; None when `stop` is set."""
    failures = 0
    while not stop.is_set():
        try:
            return ask()
        except ServerUntrusted:
            raise
        except PASSING:
            failures += 1
            stop.wait(retry.pause(failures))
    return None


def _cursor_after(message: ServerSentEvent, cursor: str | None) -> str | None:
    if message.id is not None:
        return message.id
    if isinstance(message.data, dict) and "cursor" in message.data:
        return str(message.data["cursor"])
    return cursor
