"""Follow the server's stream across cuts: the cursor is kept, the connection is made anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

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


def follow(
    client: Client,
    path: str = "/stream",
    params: Mapping[str, Any] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[ServerSentEvent]:
    """Messages for ever, from a new connection with the last cursor after each cut.

    Beside the server's own messages it yields `beat` (the server lives) and `cut` (the connection is
    lost: poll, until the next `hello`), so that the caller gets a turn at least every 45 s. Ends when
    `stop` is set; raises ServerRefused (a login that has run out) and ServerUntrusted (a certificate that is
    not trusted here), never for a network that is down.
    """
    cursor: str | None = None
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
        except (ServerUnreachable, ServerFault, NotLoggedIn, LoginBusy):
            pass
        failures += 1
        yield CUT
        stop.wait(retry.pause(failures))


def _cursor_after(message: ServerSentEvent, cursor: str | None) -> str | None:
    if message.id is not None:
        return message.id
    if isinstance(message.data, dict) and "cursor" in message.data:
        return str(message.data["cursor"])
    return cursor
