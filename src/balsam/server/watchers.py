"""Who waits for what: wakes the streams of one process when a transaction has been committed."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from balsam.store.notices import Change


@dataclass(slots=True)
class Wake:
    """Why a stream wakes: what changed, whether it is to say that it is alive, whether it is to end."""

    changes: set[Change] = field(default_factory=set)
    beat: bool = False
    ended: bool = False


class Watcher:
    """One open stream: its loop sleeps on `wait`; commits of its user and the pulse wake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, token_digest: str) -> None:
        self.token_digest = token_digest
        self.number = 0
        self._loop = loop
        self._event = asyncio.Event()
        self._next = Wake()
        self._lock = threading.Lock()

    def wake(self, changes: Collection[Change] = (), *, beat: bool = False, ended: bool = False) -> None:
        """From any thread."""
        with self._lock:
            self._next.changes |= set(changes)
            self._next.beat |= beat
            self._next.ended |= ended
        self._loop.call_soon_threadsafe(self._event.set)

    @property
    def is_to_end(self) -> bool:
        """Whether the stream has been told to end since it last waited."""
        with self._lock:
            return self._next.ended

    async def wait(self, timeout: float | None) -> Wake:
        """What came since the last call; empty after `timeout` seconds (None: for ever) without anything."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return Wake()
        self._event.clear()
        with self._lock:
            wake, self._next = self._next, Wake()
        return wake


class Watchers:
    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._of_user: dict[int, set[Watcher]] = defaultdict(set)
        self._lock = threading.Lock()
        self.closing = False

    def add(self, user_id: int, watcher: Watcher) -> None:
        with self._lock:
            watcher.number = next(self._numbers)
            self._of_user[user_id].add(watcher)

    def remove(self, user_id: int, watcher: Watcher) -> None:
        with self._lock:
            self._of_user[user_id].discard(watcher)
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def all(self) -> list[Watcher]:
        with self._lock:
            return [watcher for group in self._of_user.values() for watcher in group]

    def committed(self, changes: frozenset[Change]) -> None:
        """Tells each user's streams of that user's changes."""
        for user_id in {change.user_id for change in changes}:
            theirs = {change for change in changes if change.user_id == user_id}
            with self._lock:
                watchers = list(self._of_user.get(user_id, ()))
            for watcher in watchers:
                watcher.wake(theirs)

    def end_all(self) -> None:
        """Ends all streams: their listeners come back and look at everything anew."""
        for watcher in self.all():
            watcher.wake(ended=True)

    def close(self) -> None:
        """As `end_all`, for a server that stops and does not wait for its listeners."""
        self.closing = True
        self.end_all()
