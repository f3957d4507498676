"""Sends what came of hooks to the server: at once, and in batches while an answer is under way."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
import uuid
from collections.abc import Callable
from typing import Any

from balsam.client.errors import AuthError, ServerRefused
from balsam.client.jobs import patch_jobs
from balsam.client.transport import Client
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.core.states import JobState
from balsam.site import hooks
from balsam.site.services import OUTAGES, Outage, Stop
from balsam.site.session import AgentSession

log = logging.getLogger(__name__)

Update = dict[str, Any]
SUCCESSOR_SEC = 10.0  # how long results wait for a new session after theirs has ended
REFUSED = "the server refused what the hook changed"
IDLE_SEC = 0.5  # how long an empty queue keeps the thread from seeing the stop


class ResultService:
    """Sends updates in the order in which they came.

    `on_sent` is told the jobs whose updates are settled, `on_session_over` that the session has ended.
    """

    name = "hook results"

    def __init__(
        self,
        client: Client,
        session: AgentSession,
        on_sent: Callable[[list[int]], None],
        on_session_over: Callable[[], None],
    ) -> None:
        self._client = client
        self._session = session
        self._on_sent = on_sent
        self._on_session_over = on_session_over
        self._updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
        self._batch: list[Update] = []
        self._outage = Outage()

    def put(self, update: Update) -> None:
        """From any thread."""
        self._updates.put(update)

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            self._batch = self._batch or self._next_batch()
            if self._batch:
                self._send_until_answered(stop)
        self._send_last()

    def _next_batch(self, wait_sec: float = IDLE_SEC) -> list[Update]:
        """All that waits, up to the limit of one call; waits a moment for the first."""
        batch: list[Update] = []
        try:
            batch.append(self._updates.get(timeout=wait_sec))
            while len(batch) < MAX_ITEMS_PER_BULK_OP:
                batch.append(self._updates.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _send_until_answered(self, stop: Stop) -> None:
        key = str(uuid.uuid4())  # the same for all attempts: applied once, however often it is sent
        session_id = self._session.id
        while not stop.is_set():
            try:
                refused = self._send(self._batch, key, session_id)
                if refused and session_id is not None and self._session.is_over(session_id):
                    self._send_as_successor(refused, session_id, stop)
            except OUTAGES as exc:
                stop.event.wait(self._outage.failed(exc))
                continue
            self._outage.answered()
            self._settle([update["id"] for update in self._batch])
            self._batch = []
            return

    def _send_last(self) -> None:
        """One attempt for what is there at the stop; what it misses is done again by the next agent."""
        self._batch += self._next_batch(wait_sec=0.0)
        if self._batch and self._session.id is not None:
            with contextlib.suppress(*OUTAGES):
                self._send(self._batch, str(uuid.uuid4()), self._session.id)

    def _settle(self, job_ids: list[int]) -> None:
        self._session.release(job_ids)
        self._on_sent(job_ids)

    def _send_as_successor(self, refused: list[Update], session_id: int, stop: Stop) -> None:
        """The session ended while hooks ran: their results count, if its successor gets the same jobs."""
        self._on_session_over()
        deadline = time.monotonic() + SUCCESSOR_SEC
        while self._session.acquired_as in (None, session_id):
            if time.monotonic() > deadline or stop.event.wait(0.02):
                return
        self._send(refused, str(uuid.uuid4()), self._session.id)

    def _send(self, batch: list[Update], key: str, session_id: int | None) -> list[Update]:
        """Those that were refused since the session is over; whatever else is refused fails its job."""
        try:
            _, refusals = patch_jobs(self._client, batch, session_id, key)
        except AuthError:
            raise
        except ServerRefused as exc:
            return self._send_apart(batch, session_id, exc)
        for job_id, reason in refusals:
            log.warning("the server refused the result of a hook of job %d: %s", job_id, reason)
        reasons = dict(refusals)
        refused = [update for update in batch if update["id"] in reasons]
        if not refused or session_id is None or self._session.is_over(session_id):
            return refused
        failures = [
            hooks.failure(update, REFUSED, reasons[update["id"]], self._session.server_us())
            for update in refused
            if update.get("state") is not JobState.failed
        ]
        return self._send(failures, str(uuid.uuid4()), session_id) if failures else []

    def _send_apart(self, batch: list[Update], session_id: int | None, exc: ServerRefused) -> list[Update]:
        """One update that the server can't take must not hold up the others: finds it by halves."""
        if len(batch) > 1:
            middle = len(batch) // 2
            halves = (batch[:middle], batch[middle:])
            return [u for half in halves for u in self._send(half, str(uuid.uuid4()), session_id)]
        (update,) = batch
        log.warning("the server refused the result of a hook of job %d: %s", update["id"], exc.sentence)
        if update.get("state") is not JobState.failed:
            failure = hooks.failure(update, REFUSED, exc.sentence, self._session.server_us())
            return self._send([failure], str(uuid.uuid4()), session_id)
        return []
