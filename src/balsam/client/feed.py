"""One stream of ends of jobs, shared by all that wait in a process."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from balsam.client.stream import follow
from balsam.core.forks import renew_in_children
from balsam.core.states import DONE_STATES, JobState

if TYPE_CHECKING:
    from balsam.client.sse import ServerSentEvent
    from balsam.client.transport import Client

log = logging.getLogger(__name__)

IDLE_SEC = 60.0  # a stream that nobody has waited on for so long is closed
CONNECT_SEC = 3.0  # how long a waiter waits for the stream before it only polls
MAX_ENDED = 10_000  # jobs whose ends are remembered, for those who begin to wait for them later

Hint = frozenset[int] | None  # ids of jobs that ended; None: look at all


class Subscription:
    """Hints for one waiter; a context manager.

    `minds_failures`: an empty hint tells that another job FAILED, on which these may wait.
    """

    def __init__(self, feed: Feed, job_ids: Iterable[int]) -> None:
        self._feed = feed
        self._job_ids = frozenset(job_ids)
        self.minds_failures = False
        self._hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._feed.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._feed.remove(self)

    @property
    def is_live(self) -> bool:
        """Whether the stream is connected, so that polling is only a safety net."""
        return self._feed.connected.is_set()

    def wait_until_live(self, timeout: float) -> None:
        """Returns when the stream is up, or seen to be down: what ends from then on gives a hint."""
        self._feed.tried.wait(min(CONNECT_SEC, max(0.0, timeout)))

    def covers(self, moment: float) -> bool:
        """Whether whatever has ended since this moment (of `time.monotonic()`) has given a hint, or will."""
        return self._feed.covers(moment)

    def offer(self, hint: Hint, failed: bool = False) -> None:
        relevant = None if hint is None else hint & self._job_ids
        if relevant is None or relevant or (failed and self.minds_failures):
            self._hints.put(relevant)

    def next_hint(self, timeout: float) -> Hint:
        """Ids that ended; None after `timeout` seconds or when the stream was cut: look at all."""
        if not self._feed.knows(self):  # a forked child goes on with its parent's wait
            self._hints = queue.SimpleQueue()
            self.offer(None)
            self._feed.add(self)
        try:
            return self._hints.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None


class Feed:
    """Runs a thread while anybody waits, and for a minute after."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._begin()
        renew_in_children(self)

    def _begin(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._idle_since = time.monotonic()
        self._live_since = math.inf
        self._ended: set[int] = set()  # since then
        self._closing = threading.Event()
        self.connected = threading.Event()
        self.tried = threading.Event()  # whether it is known that the stream is up or down

    def after_fork(self) -> None:
        """Nobody waits in the child, until somebody does again."""
        was_closing = self._closing.is_set()
        self._begin()
        if was_closing:
            self._closing.set()

    @property
    def num_waiters(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, job_ids: Iterable[int]) -> Subscription:
        return Subscription(self, job_ids)

    def add(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.add(subscription)
            subscription.offer(frozenset(self._ended))
            if self._thread is None:
                self.tried.clear()
                self._thread = threading.Thread(target=self._run, name="balsam-feed", daemon=True)
                self._thread.start()

    def knows(self, subscription: Subscription) -> bool:
        return subscription in self._subscriptions

    def remove(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)
            self._idle_since = time.monotonic()

    def covers(self, moment: float) -> bool:
        """Whether all that has ended since this moment is known."""
        return self._live_since < moment

    def close(self) -> None:
        """Ends the thread when it next hears from the server."""
        self._closing.set()

    def _run(self) -> None:
        try:
            ends = {"to_state": sorted(DONE_STATES)}
            for message in follow(self._client, "/stream", ends, self._closing):
                self._dispatch(message)
                if self._retire_if_idle():
                    return
        except Exception:  # the top of a thread: waiters go on by polling
            if not self._closing.is_set():  # a connection that is closed under its reader fails somehow
                log.exception("the stream of %s is given up", self._client.api_root)
            self._retire()

    def _dispatch(self, message: ServerSentEvent) -> None:
        if message.name == "events":
            failed = any(event["to_state"] == JobState.failed for event in message.data)
            self._note(frozenset(event["job_id"] for event in message.data), failed)
        elif message.name == "cut":
            self._disconnect()
            self.tried.set()
            self._offer(None)
        elif message.name in ("hello", "reset"):
            self._live_since = time.monotonic()
            self.connected.set()
            self.tried.set()
            self._offer(None)

    def _note(self, ended: frozenset[int], failed: bool) -> None:
        with self._lock:
            if len(self._ended) > MAX_ENDED:
                self._ended.clear()
                self._live_since = time.monotonic()
            self._ended |= ended
        self._offer(ended, failed)

    def _disconnect(self) -> None:
        self.connected.clear()
        self._live_since = math.inf
        self._ended.clear()

    def _offer(self, hint: Hint, failed: bool = False) -> None:
        with self._lock:
            for subscription in self._subscriptions:
                subscription.offer(hint, failed)

    def _retire_if_idle(self) -> bool:
        with self._lock:
            if self._subscriptions or time.monotonic() - self._idle_since < IDLE_SEC:
                return False
            self._thread = None
            self._disconnect()
            return True

    def _retire(self) -> None:
        with self._lock:
            self._thread = None
            self._disconnect()
            self.tried.set()
