"""Updates of jobs that wait to be sent: each job's in order, in as few requests as that allows."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from balsam.core.clock import from_us
from balsam.core.states import JobState

MAX_BATCH_CHARS = 8_000_000  # of payloads; the server takes bodies of several times that


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

    @property
    def size(self) -> int:
        """About how many characters it takes on the wire."""
        return 300 + sum(len(text) for text in self.fields.values() if isinstance(text, str))


class UpdateQueue:
    """Updates in the order in which they came, per job."""

    def __init__(self) -> None:
        self._of_job: dict[int, deque[Update]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of_job.values()))

    def __bool__(self) -> bool:
        return bool(self._of_job)

    def add(self, update: Update) -> None:
        self._of_job.setdefault(update.job_id, deque()).append(update)

    def drop(self, job_ids: Collection[int]) -> None:
        """Forgets the updates of these jobs."""
        for job_id in job_ids:
            self._of_job.pop(job_id, None)

    def clear(self) -> None:
        self._of_job.clear()

    def next_batch(self, limit: int) -> list[Update]:
        """Takes out the first update of up to `limit` jobs: a bulk request may name a job only once."""
        batch: list[Update] = []
        size = 0
        for queue in itertools.islice(self._of_job.values(), limit):
            size += queue[0].size
            if batch and size > MAX_BATCH_CHARS:
                break
            batch.append(queue.popleft())
        for update in batch:
            if not self._of_job[update.job_id]:
                del self._of_job[update.job_id]
        return batch
