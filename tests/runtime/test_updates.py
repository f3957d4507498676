"""Updates keep each job's order, in requests that name a job once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import JobState
from balsam.runtime.updates import MAX_BATCH_CHARS, Update, UpdateQueue


@given(st.lists(st.integers(1, 6), max_size=50), st.integers(1, 5))
def test_every_update_is_sent_once_and_in_its_jobs_order(job_ids: list[int], limit: int) -> None:
    queue = UpdateQueue()
    for stamp, job_id in enumerate(job_ids):
        queue.add(Update(job_id, JobState.running, stamp))
    sent: list[Update] = []
    while queue:
        batch = queue.next_batch(limit)
        assert 0 < len(batch) <= limit
        assert len({update.job_id for update in batch}) == len(batch)
        sent += batch
    assert len(queue) == 0
    assert len(sent) == len(job_ids)
    for job_id in set(job_ids):
        stamps = [update.stamp_us for update in sent if update.job_id == job_id]
        assert stamps == sorted(stamps)


def test_large_results_are_spread_over_requests() -> None:
    queue = UpdateQueue()
    payload = "x" * (MAX_BATCH_CHARS // 3)
    for job_id in range(7):
        queue.add(Update(job_id, JobState.run_done, 0, fields={"serialized_return_value": payload}))
    assert [len(queue.next_batch(100)) for _ in range(4)] == [2, 2, 2, 1]


def test_dropped_jobs_are_not_sent() -> None:
    queue = UpdateQueue()
    for job_id in (1, 2, 1, 3):
        queue.add(Update(job_id, JobState.running, 0))
    queue.drop({1, 9})
    assert [update.job_id for update in queue.next_batch(10)] == [2, 3]


def test_body_carries_the_corrected_time() -> None:
    update = Update(4, JobState.run_done, 1_000_000, {"returncode": 0}, {"return_code": 0})
    assert update.body(offset_us=2_500_000) == {
        "id": 4,
        "state": "RUN_DONE",
        "state_timestamp": "1970-01-01T00:00:03.500000+00:00",
        "state_data": {"returncode": 0},
        "return_code": 0,
    }
