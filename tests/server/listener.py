"""One open stream, read in a thread."""

from __future__ import annotations

import threading
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

from balsam.client.sse import ServerSentEvent
from balsam.client.transport import Client
from tests.services import PasswordServer, User


class Listener:
    """`get` waits for the next message of one of the names; `hello` is the stream's greeting."""

    def __init__(self, server: PasswordServer, user: User, **params: object) -> None:
        self._messages: Queue[ServerSentEvent] = Queue()
        self._closed = False
        self._client = Client(server.url, user.token)
        self._thread = threading.Thread(target=self._read, args=(params,), daemon=True)
        self._thread.start()
        self.hello = self.get("hello", "reset")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, params: dict[str, object]) -> None:
        messages = self._client.stream("/stream", params)
        for message in messages:
            self._messages.put(message)
            if self._closed:
                break
        messages.close()  # type: ignore[attr-defined]
        self._client.close()

    def get(self, *names: str, timeout: float = 10.0) -> ServerSentEvent:
        """Raises TimeoutError where nothing comes for `timeout` seconds."""
        while True:
            try:
                message = self._messages.get(timeout=timeout)
            except Empty:
                raise TimeoutError from None
            if message.name in names:
                return message

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next events, however they are batched."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += self.get("events").data
        return found

    def close(self) -> None:
        self._closed = True  # the next beat ends the thread
        self._thread.join()
