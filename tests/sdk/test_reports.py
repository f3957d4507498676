"""Reports: the server's answer and the slow reference over plain lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from balsam.analytics import available_nodes, summary, throughput_report, utilization_report
from balsam.api import BatchJob, EventLog, Job, JobState, Session, Site
from balsam.core.clock import UtcDatetime

MakeJobs = Callable[..., list[Job]]
START = datetime(2026, 1, 1)


def at(second: float) -> UtcDatetime:
    return UtcDatetime.of(START + timedelta(seconds=second))


def event(number: int, job_id: int, second: float, old: str, new: str, **data: Any) -> Any:
    return SimpleNamespace(
        id=number, job_id=job_id, timestamp=at(second), from_state=old, to_state=new, data=data
    )


def run_in_an_allocation(jobs: list[Job], site: Site) -> BatchJob:
    """All jobs run once, one after another, in one allocation of one launcher; it is over then."""
    batch_job = BatchJob.objects.create(2, 10, "mpi", site, "p", "q", filter_tags={"experiment": "foo"})
    lease = Session.objects.create(site, batch_job.id, fenced=True, num_nodes=2)
    for job in lease.acquire_jobs(len(jobs)):
        for state in (JobState.running, JobState.run_done):
            job.state = state
            job.save()
    lease.delete()
    return batch_job


def test_reports_of_an_allocation(make_jobs: MakeJobs, lab: Site) -> None:
    jobs = make_jobs(3, tags={"experiment": "foo"}, node_packing_count=4)
    run_in_an_allocation(jobs, lab)
    events = EventLog.objects.filter(tags={"experiment": "foo"})

    times, counts = throughput_report(events)
    assert counts == [1, 2, 3] and times == sorted(times)
    assert throughput_report(events, to_state="RUNNING")[1] == [1, 2, 3]
    assert throughput_report(events.filter(to_state="RUNNING")) == ([], [])

    busy = utilization_report(events)
    assert busy[1][0] == 0.25 and busy[1][-1] == 0 and max(busy[1]) == 0.25
    assert utilization_report(events, node_weighting=False)[1] == [1.0, 0.0] * 3

    nodes = available_nodes(BatchJob.objects.filter(filter_tags={"experiment": "foo"}))
    assert nodes[1] == [2.0, 0.0]
    assert nodes[0][0] <= busy[0][0] and busy[0][-1] <= nodes[0][-1]


def test_the_server_agrees_with_the_slow_reference(make_jobs: MakeJobs, lab: Site) -> None:
    run_in_an_allocation(make_jobs(4, num_nodes=2), lab)
    events = EventLog.objects.all()
    assert throughput_report(list(events)) == throughput_report(events)
    assert utilization_report(list(events)) == utilization_report(events)
    assert utilization_report(list(events), node_weighting=False) == utilization_report(
        events, node_weighting=False
    )


def test_summary_of_jobs(make_jobs: MakeJobs, lab: Site) -> None:
    run_in_an_allocation(make_jobs(2), lab)
    made = summary(Job.objects.all())
    assert made.jobs_by_state == {"JOB_FINISHED": 2}
    assert made.node_hours_busy <= made.node_hours_available
    assert {time.state for time in made.state_times} >= {"PREPROCESSED", "RUNNING"}


def test_an_empty_query_gives_empty_lists(lab: Site) -> None:
    assert throughput_report(EventLog.objects.filter(job_id=[1, 2])) == ([], [])
    assert utilization_report(EventLog.objects.filter(batch_job_id=123)) == ([], [])
    assert utilization_report(EventLog.objects.filter(job_id=[])) == ([], [])
    assert available_nodes(BatchJob.objects.all()) == ([], [])
    assert throughput_report([]) == utilization_report([]) == available_nodes([]) == ([], [])


def test_a_slice_is_refused_with_the_reason(lab: Site) -> None:
    for report in (throughput_report, utilization_report):
        with pytest.raises(ValueError, match="slice"):
            report(EventLog.objects.all()[:100])
    with pytest.raises(ValueError, match="slice"):
        available_nodes(BatchJob.objects.all()[1:])
    with pytest.raises(ValueError, match="'JOB_FINISH'"):
        throughput_report(EventLog.objects.all(), to_state="JOB_FINISH")


def test_reference_counts_runs_of_one_job_separately() -> None:
    events = [
        event(1, 7, 0, "PREPROCESSED", "RUNNING", num_nodes=2),
        event(2, 8, 1, "PREPROCESSED", "RUNNING"),  # no num_nodes: one
        event(3, 7, 2, "RUNNING", "RUN_TIMEOUT"),
        event(4, 7, 3, "RESTART_READY", "RUNNING", num_nodes=0.25),
        event(5, 8, 3, "RUNNING", "RUN_DONE"),
        event(6, 7, 4, "RUNNING", "RUN_DONE"),
        event(7, 7, 4, "RUN_DONE", "JOB_FINISHED"),
    ]
    assert utilization_report(events[::-1]) == ([at(0), at(1), at(2), at(3), at(4)], [2, 3, 1, 0.25, 0])
    assert utilization_report(events, node_weighting=False)[1] == [1, 2, 1, 1, 0]
    assert throughput_report(events) == ([at(4)], [1])


def test_reference_closes_what_still_runs_now() -> None:
    times, busy = utilization_report([event(1, 7, 0, "PREPROCESSED", "RUNNING", num_nodes=2)])
    assert busy == [2, 2]
    assert times[0] == at(0) and abs(times[1] - datetime.utcnow()) < timedelta(minutes=1)


def test_reference_never_goes_below_zero() -> None:
    backwards = [
        event(1, 7, 5, "PREPROCESSED", "RUNNING", num_nodes=1),
        event(2, 7, 3, "RUNNING", "RUN_DONE"),
        event(3, 8, 6, "RUNNING", "RUN_DONE"),  # its start lies outside of the list
    ]
    assert utilization_report(backwards) == ([at(5)], [0])


def test_reference_of_available_nodes() -> None:
    def allocation(start: float, end: float | None, nodes: int) -> Any:
        return SimpleNamespace(
            start_time=at(start), end_time=None if end is None else at(end), num_nodes=nodes
        )

    waiting: Any = SimpleNamespace(start_time=None, end_time=None, num_nodes=9)
    told = available_nodes([allocation(0, 10, 4), waiting, allocation(5, 15, 2)])
    assert told == ([at(0), at(5), at(10), at(15)], [4, 6, 2, 0])
    assert available_nodes([allocation(0, None, 4)])[1] == [4, 4]
