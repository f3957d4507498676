"""Events as they happen: an iterator that outlives cuts and restarts, and can be resumed behind any event."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from balsam.client.stream import follow, patiently
from balsam.core.clock import naive_text
from balsam.core.forks import renew_in_children

if TYPE_CHECKING:
    from balsam.client.sse import ServerSentEvent
    from balsam.client.transport import Client
    from balsam.sdk.events import EventLog, EventLogQuery


class EventsLost(Exception):
    """The server's database is not the one that a cursor is of: events may be missing or have changed.

    So it is after a restore from a backup. List the events that matter, then begin a new stream.
    """


class EventStream:
    """Events in the order in which the server has committed them, each exactly once; a context manager.

    Iterating waits for the next one, for ever: over cuts of the network and restarts of the server. `cursor`
    is a text for `stream(cursor=...)`, in this process or another, to go on behind the last event that was
    taken; None until the stream has begun and has told the earlier ones that were asked for. `close()`, also
    from another thread, ends the iteration: at once where it is not waiting, else with the server's next sign
    of life, within 15 s. Raises ServerRefused where the login has run out.
    """

    def __init__(self, query: EventLogQuery, cursor: str | None, since: datetime | None, last: int) -> None:
        self._query = query
        self._since = since
        self._last = last
        self.cursor = cursor
        self._begin()
        renew_in_children(self)

    def _begin(self) -> None:
        self._stop = threading.Event()
        self._events = self._follow(self._query.client(), self._query.filters)

    def after_fork(self) -> None:
        if inspect.getgeneratorstate(self._events) == inspect.GEN_RUNNING:  # in a thread that the child lacks
            self._begin()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventLog:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration."""
        self._stop.set()
        with contextlib.suppress(ValueError):  # another thread waits in it
            self._events.close()

    def _follow(self, client: Client, filters: Mapping[str, Any]) -> Generator[EventLog, None, None]:
        if self._query.matches_nothing:
            return
        params = {**filters, "cursors": "each"}
        for message in follow(client, "/stream", params, self._stop, self.cursor):
            if message.name == "reset":
                raise EventsLost(
                    "the server's database is not the one of this stream's cursor (was it restored from a "
                    "backup?): list what you need, then begin a new stream"
                )
            if message.name == "hello" and self.cursor is None:
                # What comes from here on is told by the stream, and what was before by lists.
                yield from self._earlier(client, message.data["cursor"])
                self.cursor = message.data["cursor"]
            elif message.name == "events":
                yield from self._told(message)
            if self._stop.is_set():
                return

    def _told(self, message: ServerSentEvent) -> Iterator[EventLog]:
        for row in message.data:
            known = {name: row[name] for name in row if name not in ("timestamp_us", "cursor")}
            known["timestamp"] = naive_text(row["timestamp_us"])
            self.cursor = row["cursor"]
            yield self._query.of_row(known)
            if self._stop.is_set():
                return

    def _earlier(self, client: Client, cursor: str) -> Iterator[EventLog]:
        """What was asked for of the time before the cursor."""
        if self._since is not None:
            yield from self._pages(client, {"until": cursor, "timestamp_after": self._since})
        elif self._last:
            asked = {"until": cursor, "ordering": "-timestamp", "limit": self._last}
            newest = patiently(lambda: self._list(client, asked), self._stop)
            if newest is not None:
                rows = sorted(newest["results"], key=lambda row: int(row["id"]))
                yield from map(self._query.of_row, rows)

    def _pages(self, client: Client, asked: dict[str, Any]) -> Iterator[EventLog]:
        asked |= {"ordering": "timestamp", "limit": self._query.PAGE}
        while not self._stop.is_set():
            page = patiently(lambda: self._list(client, asked), self._stop)
            if page is None:
                return
            yield from map(self._query.of_row, page["results"])
            if page["next"] is None:
                return
            asked["after"] = page["next"]

    def _list(self, client: Client, asked: Mapping[str, Any]) -> Any:
        return client.get("/events/", {**self._query.filters, "count": "no", **asked})
