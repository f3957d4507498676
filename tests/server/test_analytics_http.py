from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from balsam.client.jobs import patch_jobs
from balsam.client.transport import Client
from balsam.core.clock import to_us
from balsam.logic.series import Spans, Window, step_sum
from tests.server.lab import Lab

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def us(seconds: float) -> int:
    return to_us(START + timedelta(seconds=seconds))


def lately(seconds: float) -> datetime:
    """A moment ago, within a lease: a session that was heard of later can't have ended earlier."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


def run(lab: Lab, session: int, job: int, start: float, end: float | None, state: str = "RUN_DONE") -> None:
    patch_jobs(lab.client, [{"id": job, "state": "RUNNING", "state_timestamp": at(start)}], session)
    if end is not None:
        patch_jobs(lab.client, [{"id": job, "state": state, "state_timestamp": at(end)}], session)


def series(lab: Lab, name: str, **params: Any) -> tuple[list[int], list[float]]:
    subject = "batch-jobs" if name == "available-nodes" else "events"
    answer = lab.client.get(f"/analytics/{subject}/{name}", params)
    return answer["times_us"], answer["values"]


def test_throughput_has_one_point_for_each_entry(lab: Lab) -> None:
    jobs = lab.create(3, tags={"e": "1"})
    session = lab.session()
    lab.acquire(session)
    for job, end in zip(jobs, (30, 10, 20), strict=True):
        run(lab, session, job, 0, end)
    assert series(lab, "throughput", tags={"e": "1"}) == ([us(10), us(20), us(30)], [1, 2, 3])
    assert series(lab, "throughput", entered="RUN_DONE", timestamp_before=at(15)) == ([us(10)], [1])
    assert series(lab, "throughput", tags={"e": "none"}) == ([], [])


def test_utilization_weighs_runs_by_their_nodes(lab: Lab) -> None:
    [wide] = lab.create(num_nodes=2)
    packed = lab.create(2, node_packing_count=2)
    session = lab.session()
    lab.acquire(session)
    run(lab, session, wide, 0, 30)
    run(lab, session, packed[0], 10, 20)
    run(lab, session, packed[1], 15, 40)
    expected = ([us(0), us(10), us(15), us(20), us(30), us(40)], [2.0, 2.5, 3.0, 2.5, 0.5, 0.0])
    assert series(lab, "utilization") == expected
    assert series(lab, "utilization", unit="job")[1] == [1.0, 2.0, 3.0, 2.0, 1.0, 0.0]
    assert series(lab, "utilization", job_id=packed[0]) == ([us(10), us(20)], [0.5, 0.0])


def test_every_attempt_counts_and_filters_choose_runs_by_their_start(lab: Lab) -> None:
    [job] = lab.create()
    first = lab.session()
    lab.acquire(first)
    run(lab, first, job, 0, 10, "RUN_TIMEOUT")
    second = lab.session()
    lab.acquire(second)
    run(lab, second, job, 20, 30)
    assert series(lab, "utilization") == ([us(0), us(10), us(20), us(30)], [1, 0, 1, 0])
    restarts = {"from_state": "RESTART_READY", "to_state": "RUNNING"}
    assert series(lab, "utilization", **restarts) == ([us(20), us(30)], [1, 0])
    assert series(lab, "utilization", to_state="RUN_DONE") == ([], [])


def test_a_run_that_goes_on_stays_up_to_the_windows_end(lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    run(lab, session, job, 0, None)
    window = {"timestamp_after": at(60), "timestamp_before": at(120)}
    assert series(lab, "utilization", **window) == ([us(60), us(120)], [1, 1])
    times, values = series(lab, "utilization")
    assert values == [1, 1] and abs(times[-1] - to_us(datetime.now(UTC))) < 60e6


def test_available_nodes_sums_launchers(lab: Lab) -> None:
    one = lab.batch_job(filter_tags={"e": "1"}, num_nodes=2)["id"]
    two = lab.batch_job(filter_tags={"e": "1"})["id"]
    ends = lately(20), lately(10)
    for batch_job, nodes, start, end in ((one, 2, 0, ends[0]), (two, 1, 50, ends[1])):
        lab.session(batch_job_id=batch_job, num_nodes=nodes, started=at(start))
        ended = {"id": batch_job, "state": "finished", "end_time": end.isoformat()}
        lab.client.patch("/batch-jobs/", [ended])
    expected = ([us(0), us(50), *map(to_us, ends)], [2, 3, 1, 0])
    assert series(lab, "available-nodes", filter_tags={"e": "1"}) == expected
    assert series(lab, "available-nodes", filter_tags={"e": "2"}) == ([], [])


def test_an_allocation_without_a_launcher_of_ours_gives_its_own_times(lab: Lab) -> None:
    batch_job = lab.batch_job(num_nodes=4)["id"]
    times = {"start_time": at(0), "end_time": at(10), "state": "finished"}
    lab.client.put(f"/batch-jobs/{batch_job}", times)
    assert series(lab, "available-nodes", id=batch_job) == ([us(0), us(10)], [4, 0])


def test_events_belong_to_the_batch_job_in_which_they_happened(lab: Lab) -> None:
    [job] = lab.create()
    ids = [lab.batch_job()["id"] for _ in range(2)]
    for batch_job, end in zip(ids, ("RUN_TIMEOUT", "RUN_DONE"), strict=True):
        lab.client.put(f"/batch-jobs/{batch_job}", {"scheduler_id": batch_job + 500})
        session = lab.session(batch_job_id=batch_job)
        lab.acquire(session)
        lab.run(session, [job], end)

    def entered(**params: Any) -> list[str]:
        rows = lab.client.get("/events/", {**params, "ordering": "timestamp"})["results"]
        return [row["to_state"] for row in sorted(rows, key=lambda row: int(row["id"]))]

    assert entered(batch_job_id=ids[0]) == [
        "STAGED_IN",
        "PREPROCESSED",
        "RUNNING",
        "RUN_TIMEOUT",
        "RESTART_READY",
    ]
    assert entered(scheduler_id=ids[1] + 500) == ["RUNNING", "RUN_DONE", "JOB_FINISHED"]
    assert entered(batch_job_id=ids[1]) == entered(scheduler_id=ids[1] + 500)
    assert entered(batch_job_id=10**9) == []


def test_event_filters_choose_what_they_name(lab: Lab) -> None:
    [job] = lab.create(tags={"experiment": "foo", "n": "1"})
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session, state_data={"host": "n1", "k": 3})

    def count(**params: Any) -> int:
        return int(lab.client.get("/events/", params)["count"])

    assert count(tags={"experiment": "foo"}) == 3
    assert count(tags={"experiment": "foo", "n": "2"}) == 0
    assert count(data={"host": "n1"}) == 1
    assert count(data={"host": "n2"}) == 0
    assert count(to_state="RUNNING") == count(from_state="PREPROCESSED") == 1
    assert count(to_state="NOPE") == 0
    assert count(timestamp_after=at(0)) == 3
    assert count(timestamp_before=at(0)) == 0


def test_runs_can_be_rebuilt_from_the_events(lab: Lab) -> None:
    jobs = lab.create(6, node_packing_count=2)
    session = lab.session()
    lab.acquire(session)
    for n, job in enumerate(jobs):
        run(lab, session, job, n, None if n == 5 else 10 + 2 * n, "RUN_ERROR" if n % 2 else "RUN_DONE")
    spans: list[tuple[int, int | None, float]] = []
    for job in jobs:
        for event in lab.events(job):
            when = to_us(datetime.fromisoformat(event["timestamp"]))
            if event["to_state"] == "RUNNING":
                spans.append((when, None, event["data"]["num_nodes"]))
            if event["from_state"] == "RUNNING":
                spans[-1] = (spans[-1][0], when, spans[-1][2])
    before = at(1000)
    assert series(lab, "utilization", timestamp_before=before) == step_sum(
        Spans.of(spans), Window(None, us(1000))
    )


def test_the_summary_counts_states_times_and_node_hours(lab: Lab) -> None:
    [job] = lab.create(tags={"e": "1"})
    batch_job = lab.batch_job()["id"]
    session = lab.session(batch_job_id=batch_job, started=at(0))
    lab.acquire(session)
    run(lab, session, job, 0, 1800)
    end = lately(10)
    ended = {"id": batch_job, "state": "finished", "end_time": end.isoformat()}
    lab.client.patch("/batch-jobs/", [ended])
    answer = lab.client.get("/analytics/summary", {"tags": {"e": "1"}})
    assert answer["jobs_by_state"] == {"JOB_FINISHED": 1}
    assert answer["node_hours_busy"] == pytest.approx(0.5)
    assert answer["node_hours_available"] == pytest.approx((end - START) / timedelta(hours=1))
    running = next(row for row in answer["state_times"] if row["state"] == "RUNNING")
    assert running == {"state": "RUNNING", "stays": 1, "median_sec": 1800.0}
