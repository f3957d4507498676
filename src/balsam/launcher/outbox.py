"""A launcher's reports on their way out: its spool, what earlier sessions left, and notes for the user."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from balsam.client.transport import Client
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.runtime import delivery
from balsam.runtime.delivery import GUARD_SEC, Delivery
from balsam.runtime.spool import Batch, Spool, SpoolFolder, SpoolName
from balsam.runtime.updates import Entry

log = logging.getLogger(__name__)

WRITE_AGAIN_SEC = 1.0  # between attempts to write what the disk did not take


class Outbox:
    """`append` may be called beside everything else, which is the courier's thread's."""

    def __init__(self, spools: SpoolFolder, batch_job_id: int | None, partition: int) -> None:
        self._spools = spools
        self._batch_job_id = batch_job_id
        self._partition = partition
        self._spool: Spool | None = None
        self._batch: Batch | None = None
        self._left: deque[Delivery] = deque()
        self._left_at = 0.0
        self._acked = 0
        self._settled_from = 0  # before this offset, what was lost may be reported yet
        self._write_at = 0.0
        self._notes: dict[str, str | None] = {}

    # ---- this session's ----

    def open(self, session_id: int) -> None:
        """From now on updates are those of this session."""
        self._spool = self._spools.create(SpoolName(self._batch_job_id, self._partition, session_id))
        self._settled_from = self._acked = 0

    def append(self, items: Iterable[Mapping[str, Any]]) -> None:
        """They are in the spool then, whatever is under way."""
        assert self._spool is not None, "nothing runs without a session"
        self._spool.append(items)

    def sync(self) -> None:
        """Brings what waits to the disk."""
        if self._spool is not None:
            self._spool.sync()

    def note_ending(self, ending: Mapping[str, Any]) -> None:
        """Why this launcher ends: whoever sends its last reports tells that, too."""
        if self._spool is not None:
            self._spool.note_ending(ending)

    def note_job(self, job_id: int) -> None:
        """Which job is being prepared or started; 0: none."""
        if self._spool is not None:
            self._spool.note_job(job_id)

    def tell_ending(self, client: Client) -> None:
        if self._spool is not None and self._spool.ending is not None:
            delivery.tell_ending(client, self._spool.name.session_id, self._spool.ending)

    def close(self) -> None:
        """The session is closed, and everything told."""
        if self._spool is not None:
            self._spool.close()

    def give_up(self) -> None:
        """The session is over: what of it has been told, the server or its fence knows."""
        if self._spool is not None:
            self._left.append(Delivery(self._spool, self._batch))
        self._batch = None

    @property
    def has_more(self) -> bool:
        return bool(self._batch or self._spool)

    @property
    def under_way(self) -> set[int]:
        """Jobs in a request that is not answered."""
        return {entry.job_id for entry in self._batch.entries} if self._batch else set()

    def send(self, client: Client) -> tuple[Batch | None, list[tuple[Entry, str]]]:
        """Sends the first batch, which is answered then, and what of it was refused; None: there is none."""
        assert self._spool is not None, "there is a session"
        batch = self._batch = self._batch or self._spool.next_batch(MAX_ITEMS_PER_BULK_OP)
        if batch is None:
            return None, []
        refused = delivery.send(client, self._spool.name.session_id, batch)
        if refused:
            self._spool.keep_refused(refused)
            self._note_refused()
        self._spool.acknowledge(batch)
        self._acked, self._batch = batch.end, None
        return batch, refused

    def settle(self) -> None:
        """Jobs were lost: what is there by now is to be refused before any of them may be held again."""
        if self._spool is not None:
            self._settled_from = self._spool.end

    @property
    def is_settled(self) -> bool:
        return self._acked >= self._settled_from

    @property
    def trouble(self) -> str | None:
        """Why updates are in memory only."""
        return None if self._spool is None else self._spool.trouble

    def try_again(self, now: float) -> None:
        """Writes what the disk did not take, every now and then."""
        if self.trouble is not None and now >= self._write_at:
            self._write_at = now + WRITE_AGAIN_SEC
            self.sync()

    # ---- what earlier sessions left ----

    def take_left(self) -> None:
        """Takes the spools of this launcher's predecessors in its allocation, unless they are alive."""
        self._left_at = time.monotonic() + GUARD_SEC
        for name in self._spools.names():
            if (name.batch_job_id, name.partition) != (self._batch_job_id, self._partition):
                continue
            spool = self._spools.take(name)
            if spool is None:
                log.warning("the launcher of spool %s may be alive: it is left alone", name.stem)
                continue
            log.info("an earlier launcher left its session %d: it is settled first", name.session_id)
            self._left.append(Delivery(spool))

    def left_in_sec(self, now: float) -> float | None:
        """Until what was left may be delivered; None where there is nothing."""
        return self._left_at - now if self._left else None

    def deliver(self, client: Client) -> None:
        """One request for what was left."""
        first = self._left[0]
        if first.step(client):
            self._left.popleft()
            if first.refused:
                self._note_refused()

    # ---- notes ----

    @property
    def has_notes(self) -> bool:
        return bool(self._notes) and self._batch_job_id is not None

    def note_trouble(self) -> None:
        """What `trouble` says now."""
        self._notes["spool"] = self.trouble and f"{self.trouble}; no run is started until there is room"

    def _note_refused(self) -> None:
        self._notes["refused"] = delivery.refused_note(self._spools, self._batch_job_id)

    def send_notes(self, client: Client) -> None:
        """Tells the user, where they look at the allocation."""
        sent = dict(self._notes)
        client.patch("/batch-jobs/", [{"id": self._batch_job_id, "notes": sent}])
        for name, text in sent.items():
            if self._notes.get(name) == text:  # else the loop's thread has noted something newer
                self._notes.pop(name, None)

    def drop_notes(self) -> None:
        self._notes = {}
