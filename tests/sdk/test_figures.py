"""The analytics through the SDK: what comes back, and what is refused. What is computed: tests/analytics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from balsam import analytics
from balsam.analytics import (
    available_nodes,
    backlog,
    failures,
    littles_law,
    node_hours,
    run_delays,
    scaling,
    state_times,
    throughput_rates,
    throughput_report,
    timeline,
    trace,
    utilization_report,
)
from balsam.api import BatchJob, EventLog, Job, Session, Site
from balsam.client.errors import ServerRefused
from balsam.core.clock import UtcDatetime, now_us
from balsam.core.states import JobState

MakeJobs = Callable[..., list[Job]]


@pytest.fixture
def campaign(make_jobs: MakeJobs, lab: Site) -> BatchJob:
    """Two jobs of size 1 finished, one of size 10 failed, one waits; their allocation is over."""
    jobs = make_jobs(2, tags={"size": "1"}, node_packing_count=2)
    jobs += make_jobs(1, tags={"size": "10"}, num_nodes=2)
    batch_job = BatchJob.objects.create(2, 10, "mpi", lab, "physics", "q")
    lease = Session.objects.create(lab, batch_job.id, fenced=True, num_nodes=2)
    for job in lease.acquire_jobs(len(jobs)):
        job.state = JobState.running
        job.state_data = {"nodes": ["n1", "n2"][: job.num_nodes], "cpus": 1.0, "gpus": 0}
        job.save()
        job.state = JobState.run_error if job.num_nodes == 2 else JobState.run_done
        job.state_data = (
            {"returncode": 9, "error": "line\nout of memory at 0x1f"} if job.num_nodes == 2 else {}
        )
        job.save()
    lease.delete()
    make_jobs(1, tags={"size": "1"})
    return batch_job


def test_groups_have_a_series_each(campaign: BatchJob) -> None:
    jobs = Job.objects.all()
    by_size = throughput_report(jobs, to_state="RUNNING", group_by="tag:size")
    assert {size: counts for size, (_, counts) in by_size.items()} == {"1": [1, 2], "10": [1]}
    peaks = {size: max(busy) for size, (_, busy) in utilization_report(jobs, group_by="tag:size").items()}
    assert peaks == {"1": 0.5, "10": 2.0}
    assert available_nodes(BatchJob.objects.all(), group_by="project").keys() == {"physics"}
    assert utilization_report(jobs, group_by="batch_job").keys() == {campaign.id}


def test_bins_bound_the_answer_and_keep_its_sense(campaign: BatchJob) -> None:
    events = EventLog.objects.all()
    times, counts = throughput_report(events, "RUNNING", bins=2)
    assert len(times) <= 2 and counts[-1] == 3
    edges, rates = throughput_rates(events, "RUNNING", bins=3)
    assert len(edges) == len(rates) <= 4 and all(isinstance(edge, UtcDatetime) for edge in edges)
    edges, means = utilization_report(BatchJob.objects.all(), bins=2)
    held = sum(
        mean * (after - before).total_seconds()
        for mean, before, after in zip(means, edges, edges[1:], strict=False)
    )
    [hours] = node_hours(Job.objects.all())
    assert held / 3600 == pytest.approx(hours.busy, rel=1e-3)


def test_a_window_counts_for_queries_of_jobs_too(campaign: BatchJob) -> None:
    before = datetime.utcnow() - timedelta(hours=1)
    assert throughput_report(Job.objects.all(), timestamp_before=before) == ([], [])
    assert node_hours(Job.objects.all(), timestamp_before=before) == []
    assert throughput_report(EventLog.objects.filter(timestamp_before=before)) == ([], [])
    assert throughput_report(Job.objects.all(), timestamp_after=before)[1] == [1, 2]


def test_tables_have_a_row_for_each_group(campaign: BatchJob) -> None:
    jobs = Job.objects.all()
    hours = {row.group: row for row in node_hours(jobs, group_by="tag:size")}
    assert hours.keys() == {"1", "10"} and hours["10"].runs == 1 and hours["1"].idle > 0
    assert {row.state for row in state_times(jobs)} >= {"PREPROCESSED", "RUNNING", "RUN_ERROR"}
    assert [row.count for row in run_delays(jobs, group_by="num_nodes")] == [2, 1]
    [failure] = failures(jobs)
    assert (failure.group, failure.failures) == ("9: out of memory at #", 1)
    assert failure.newest_tail.endswith("0x1f") and isinstance(failure.last, UtcDatetime)
    assert {row.group: row.failed_fraction for row in failures(jobs, group_by="host")} == {
        "n1": pytest.approx(1 / 3),
        "n2": 1.0,
    }
    assert [(row.group, row.runs, row.efficiency) for row in scaling(jobs)] == [(0.5, 2, 1.0)]
    [law] = littles_law(jobs, unit="job")
    assert law.runs_ended == 3 and law.bound == pytest.approx(law.measured)
    left = {row.group: row for row in backlog(jobs, group_by="tag:size")}
    assert (left["1"].left, left["1"].runnable, left["1"].finished, left["10"].failed) == (1, 1, 2, 1)
    assert left["1"].done_at is not None and left["10"].seconds_left == 0


def test_the_trace_tells_all_of_each_attempt(campaign: BatchJob) -> None:
    rows = trace(Job.objects.filter(tags={"size": "10"}))
    assert len(rows) == 1
    [run] = rows
    assert (run.attempt, run.app, run.site, run.batch_job_id) == (1, "Add", "lab", campaign.id)
    assert (run.nodes, run.num_nodes, run.end_state, run.return_code) == (["n1", "n2"], 2, "RUN_ERROR", 9)
    assert run.run_sec is not None and run.end is not None and run.queue_sec is not None
    assert run.tags == {"size": "10"} and run.tail.startswith("line")
    assert len(trace(Job.objects.all(), limit=2)) == 2
    assert {row.job_id for row in trace(Job.objects.all(), end_state="RUN_ERROR")} == {run.job_id}
    slowest = [row.run_sec or 0 for row in trace(Job.objects.all(), order="slowest")]
    assert slowest == sorted(slowest, reverse=True)


def test_the_timeline_names_the_runs_of_each_node(campaign: BatchJob) -> None:
    assert {node.node: len(node.bars) for node in timeline(Job.objects.all())} == {"n1": 3, "n2": 1}


def test_what_can_not_be_asked_is_refused_with_what_can(campaign: BatchJob) -> None:
    with pytest.raises(ServerRefused, match=r"group_by='node' is none of: .*tag:KEY"):
        node_hours(Job.objects.all(), group_by="node")
    with pytest.raises(ServerRefused, match="available are grouped by site"):
        available_nodes(BatchJob.objects.all(), group_by="app")
    with pytest.raises(ValueError, match="slice"):
        node_hours(Job.objects.all()[:5])
    with pytest.raises(TypeError, match="a query is needed"):
        throughput_report([], bins=5)
    with pytest.raises(ServerRefused, match="bins"):
        throughput_report(Job.objects.all(), bins=0)


def test_a_query_that_can_match_nothing_asks_nobody(lab: Site) -> None:
    nothing = Job.objects.filter(id=[])
    assert trace(nothing) == [] and node_hours(nothing) == [] and timeline(nothing) == []
    assert throughput_report(nothing, group_by="app") == {}
    assert utilization_report(nothing, bins=3) == ([], [])


def test_every_public_name_says_what_it_does() -> None:
    for name in analytics.__all__:
        assert getattr(analytics, name).__doc__


def test_times_made_in_bulk_are_those_made_one_by_one() -> None:
    day, now = 86_400_000_000, now_us()
    times = sorted([-1, 0, 1, day - 1, day, now, now, now + 1, now + 40 * 365 * day, 951_782_399_999_999])
    made = UtcDatetime.each_of_us(times)
    assert made == [UtcDatetime.of_us(us) for us in times]
    assert all(type(moment) is UtcDatetime and moment.tzinfo is not None for moment in made)
    assert made[-1] - datetime(1970, 1, 1) == timedelta(microseconds=times[-1])
    assert UtcDatetime.each_of_us([]) == []
