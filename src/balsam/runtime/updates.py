"""Updates of jobs that wait to be sent, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balsam.core.clock import from_us
from balsam.core.states import JobState

MAX_BATCH_CHARS = 8_000_000  # the server takes bodies of several times that


@dataclass(frozen=True, slots=True)
class Update:
    """A job enters a state at a time (microseconds, this machine's clock); `fields` as the API takes them."""

    job_id: int
    state: JobState
    stamp_us: int
    data: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def body(self, offset_us: int) -> dict[str, Any]:
        """The item of a bulk request; `offset_us` is added to the stamp."""
        return {
            "id": self.job_id,
            "state": self.state,
            "state_timestamp": from_us(self.stamp_us + offset_us).isoformat(),
            "state_data": self.data,
            **self.fields,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """An update as it travels: the JSON of its item, and the offset at which it ends in its spool."""

    job_id: int
    state: str
    line: bytes
    end: int


class UpdateQueue:
    """First in, first out."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def next_batch(self, limit: int) -> list[Entry]:
        """Takes out the first ones: up to `limit`, and MAX_BATCH_CHARS unless a single one has more."""
        batch: list[Entry] = []
        size = 0
        while self._entries and len(batch) < limit:
            size += len(self._entries[0].line)
            if batch and size > MAX_BATCH_CHARS:
                break
            batch.append(self._entries.popleft())
        return batch

    def take_until(self, end: int) -> list[Entry]:
        """Takes out those that end at this offset or before."""
        batch: list[Entry] = []
        while self._entries and self._entries[0].end <= end:
            batch.append(self._entries.popleft())
        return batch
