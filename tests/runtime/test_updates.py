"""Updates go out in the order in which they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import JobState
from balsam.runtime.updates import MAX_BATCH_CHARS, Entry, Update, UpdateQueue


@given(st.lists(st.integers(1, 6), max_size=50), st.integers(1, 5))
def test_batches_are_the_first_that_came(job_ids: list[int], limit: int) -> None:
    queue = UpdateQueue()
    entries = [Entry(job_id, JobState.running, b"x", end) for end, job_id in enumerate(job_ids, 1)]
    for entry in entries:
        queue.add(entry)
    sent: list[Entry] = []
    while queue:
        batch = queue.next_batch(limit)
        assert 0 < len(batch) <= limit
        sent += batch
    assert sent == entries and queue.next_batch(limit) == []


def test_large_results_are_spread_over_requests() -> None:
    queue = UpdateQueue()
    for job_id in range(7):
        queue.add(Entry(job_id, JobState.run_done, b"x" * (MAX_BATCH_CHARS // 3), job_id))
    queue.add(Entry(8, JobState.run_done, b"x" * (MAX_BATCH_CHARS + 1), 8))
    assert [len(queue.next_batch(100)) for _ in range(4)] == [3, 3, 1, 1]


def test_body_carries_the_corrected_time() -> None:
    update = Update(4, JobState.run_done, 1_000_000, {"returncode": 0}, {"return_code": 0})
    assert update.body(offset_us=2_500_000) == {
        "id": 4,
        "state": "RUN_DONE",
        "state_timestamp": "1970-01-01T00:00:03.500000+00:00",
        "state_data": {"returncode": 0},
        "return_code": 0,
    }
