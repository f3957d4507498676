"""Who waits for what: wakes the streams of one process when a transaction has been committed."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

from balsam.store.database import Change


class Watcher:
    """One open stream: its loop sleeps on `wait`, commits of its user wake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._changes: set[Change] = set()
        self._lock = threading.Lock()

    def wake(self, changes: set[Change]) -> None:
        """From any thread."""
        with self._lock:
            first = not self._changes
            self._changes |= changes
        if first:
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout: float) -> set[Change]:
        """What changed since the last call; empty after `timeout` seconds without a change."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return set()
        self._event.clear()
        with self._lock:
            changes, self._changes = self._changes, set()
        return changes


class Watchers:
    def __init__(self) -> None:
        self._of_user: dict[int, set[Watcher]] = defaultdict(set)
        self._lock = threading.Lock()
        self.closing = False

    def add(self, user_id: int, watcher: Watcher) -> None:
        with self._lock:
            self._of_user[user_id].add(watcher)

    def remove(self, user_id: int, watcher: Watcher) -> None:
        with self._lock:
            self._of_user[user_id].discard(watcher)
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def committed(self, changes: frozenset[Change]) -> None:
        """Tells each user's streams of that user's changes."""
        for user_id in {change.user_id for change in changes}:
            theirs = {change for change in changes if change.user_id == user_id}
            with self._lock:
                watchers = list(self._of_user.get(user_id, ()))
            for watcher in watchers:
                watcher.wake(theirs)

    def close(self) -> None:
        """Ends all streams: a server that stops does not wait for its listeners."""
        self.closing = True
        with self._lock:
            watchers = [watcher for group in self._of_user.values() for watcher in group]
        for watcher in watchers:
            watcher.wake(set())
            watcher._loop.call_soon_threadsafe(watcher._event.set)
