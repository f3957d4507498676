"""Queries: lazy, chainable, sliced; every filter; updates and deletions by query."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from balsam.api import (
    App,
    ApplicationDefinition,
    BatchJob,
    EventLog,
    Job,
    JobState,
    Session,
    Site,
    TransferItem,
)
from balsam.sdk.bounded import EXPLAINED
from balsam.sdk.events import EventLogQuery
from balsam.sdk.jobs import JobQuery
from balsam.sdk.query import IDS_PER_REQUEST
from balsam.sdk.spelling import unknown
from tests.services import User

Apps = type[ApplicationDefinition]
MakeJobs = Callable[..., list[Job]]


def ids(jobs: Any) -> list[int]:
    return [job.id for job in jobs]


def test_nothing_is_asked_before_rows_are_needed(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(1)
    client = jobs[0].client()
    query = Job.objects.filter(state="FAILED").filter(tags={"a": "b"}).order_by("-id")[2:5]
    client.close()  # any request would fail from here on
    assert repr(query) == "<JobQuery state='FAILED', tags={'a': 'b'}[2:5]>"


def test_slices_and_indices(make_jobs: MakeJobs) -> None:
    all_ids = ids(make_jobs(7))
    query = Job.objects.all().order_by("id")
    assert query[0].id == all_ids[0] and query[6].id == all_ids[6]
    assert ids(query[2:5]) == all_ids[2:5]
    assert ids(query[2:]) == all_ids[2:]
    assert ids(query[:3]) == all_ids[:3]
    assert ids(query[1:7:2]) == all_ids[1:7:2]
    assert isinstance(query[1:7:2], list)
    assert ids(query[2:6][1:3]) == all_ids[2:6][1:3]
    assert ids(query[2:4][1:10]) == all_ids[3:4]
    assert ids(query[5:5]) == [] and ids(query[9:12]) == []
    with pytest.raises(IndexError):
        query[7]
    with pytest.raises(AssertionError):
        query[-1]
    with pytest.raises(AssertionError):
        query[-3:]
    with pytest.raises(ValueError, match="slice"):
        query[1:3].filter(id=1)


def test_len_bool_count_first(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(4)
    assert len(Job.objects.all()) == 4
    assert Job.objects.count() == 4
    assert Job.objects.all()[1:3].count() == 2 == len(Job.objects.all()[1:3])
    assert Job.objects.all()[3:9].count() == 1
    assert bool(Job.objects.all()) and not Job.objects.filter(state="FAILED")
    first = Job.objects.filter(id=ids(jobs)).order_by("-id").first()
    assert first is not None and first.id == jobs[-1].id
    assert Job.objects.filter(state="FAILED").first() is None


def test_fetched_rows_are_kept(make_jobs: MakeJobs) -> None:
    make_jobs(3)
    query = Job.objects.all()
    for job in query:
        job.data["seen"] = True
    for job in query:
        job.save()
    assert [job.data for job in query.all()] == [{"seen": True}] * 3
    assert query[1] is list(query)[1]


def test_orders(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(3)
    jobs[1].priority = 1
    jobs[1].save()
    assert ids(Job.objects.all().order_by("-id")) == ids(jobs)[::-1]
    assert Job.objects.all().order_by("-last_update")[0].id == jobs[1].id
    assert ids(Job.objects.all().order_by("-workdir")) == ids(jobs)[::-1]
    with pytest.raises(TypeError, match=r"'last_updat'.*'last_update'"):
        Job.objects.all().order_by("last_updat")
    times = [event.timestamp for event in EventLog.objects.all()]
    assert times == sorted(times, reverse=True)
    assert [e.timestamp for e in EventLog.objects.all().order_by("timestamp")] == times[::-1]


class JobsInSmallPages(JobQuery):
    PAGE = 3


class EventsInSmallPages(EventLogQuery):
    PAGE = 3


def test_pages_join_without_gap_or_double(make_jobs: MakeJobs, me: User) -> None:
    jobs = make_jobs(7)
    all_jobs = JobsInSmallPages(Job, me.client)
    for order in ("id", "-id", "state", "-last_update", "-workdir"):
        assert sorted(ids(all_jobs.order_by(order).iterator())) == ids(jobs)
    assert ids(all_jobs.order_by("id")[1:6]) == ids(jobs)[1:6]
    events = ids(EventsInSmallPages(EventLog, me.client))
    assert len(events) == len(set(events)) == EventLog.objects.count() == 14


def test_more_ids_than_fit_into_a_url(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(IDS_PER_REQUEST + 20)
    query = Job.objects.filter(id=reversed(ids(jobs)))
    assert ids(query) == ids(jobs)
    assert query.count() == len(jobs)
    assert ids(query.order_by("-id")[10:13]) == ids(jobs)[::-1][10:13]
    assert EventLog.objects.filter(job_id=ids(jobs), to_state="STAGED_IN").count() == len(jobs)
    assert query.update(priority=4) == len(jobs)
    assert Job.objects.bulk_refresh(jobs) == jobs
    assert {job.priority for job in jobs} == {4}
    query.delete()
    assert Job.objects.count() == 0


def test_an_empty_list_matches_nothing(make_jobs: MakeJobs) -> None:
    make_jobs(2)
    nothing = Job.objects.filter(id=[])
    assert (list(nothing), nothing.count(), nothing.first(), bool(nothing)) == ([], 0, None, False)
    assert nothing.update(priority=1) == 0
    nothing.delete()
    assert Job.objects.count() == 2


def test_update_and_delete_of_a_query_and_of_a_slice(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(5)
    by_id = Job.objects.all().order_by("id")
    assert Job.objects.filter(id=ids(jobs)[:2]).update(tags={"a": "b"}, num_nodes=2) == 2
    assert ids(Job.objects.filter(tags={"a": "b"})) == ids(jobs)[:2]
    assert by_id[3:].update(data={"n": 1}) == 2
    assert [job.data for job in by_id.all()] == [{}, {}, {}, {"n": 1}, {"n": 1}]
    by_id.all()[1:3].delete()
    assert ids(Job.objects.all()) == [jobs[0].id, jobs[3].id, jobs[4].id]
    assert Job.objects.filter(state="FAILED").update(priority=1) == 0
    with pytest.raises(TypeError, match=r"'prioritee'.*'priority'"):
        Job.objects.all().update(prioritee=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="app_id"):
        Job.objects.all().update(app_id=1)  # type: ignore[call-arg]


def test_bulk_update_sends_each_jobs_own_changes(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(3)
    jobs[0].data = {"n": 1}
    jobs[1].tags["k"] = "v"
    assert Job.objects.bulk_update(jobs) == 2
    assert [(job.data, job.tags) for job in Job.objects.all()] == [({"n": 1}, {}), ({}, {"k": "v"}), ({}, {})]
    jobs[2].state = JobState.failed
    Job.objects.bulk_update(jobs)
    assert Job.objects.get(state="FAILED").id == jobs[2].id


def test_what_has_no_route_says_so(lab: Site) -> None:
    with pytest.raises(NotImplementedError, match="one by one"):
        Site.objects.all().delete()
    with pytest.raises(NotImplementedError, match="one by one"):
        App.objects.all().update(description="x")
    with pytest.raises(NotImplementedError):
        EventLog.objects.bulk_create([])
    with pytest.raises(NotImplementedError):
        Site.objects.bulk_update([lab])


def test_every_job_filter(make_jobs: MakeJobs, hello: Apps, lab: Site) -> None:
    jobs = make_jobs(3, tags={"exp": "one"})
    child = hello.submit("child", name="x", parent_ids=[jobs[0].id, jobs[1]], tags={"exp": "a:b", "n": "1"})
    jobs[2].state = JobState.failed
    jobs[2].save()
    hour = timedelta(hours=1)
    now = datetime.utcnow()
    for filters, expected in (
        ({"id": jobs[0].id}, [jobs[0]]),
        ({"id": [jobs[0].id, jobs[2].id]}, [jobs[0], jobs[2]]),
        ({"parent_id": jobs[1].id}, [child]),
        ({"parent_id": {jobs[0].id, jobs[1].id}}, [child]),
        ({"app_id": hello}, [child]),
        ({"app_id": [hello, jobs[0].app_id]}, [*jobs, child]),
        ({"site_id": lab.id}, [*jobs, child]),
        ({"site_id": [lab]}, [*jobs, child]),
        ({"batch_job_id": 99}, []),
        ({"session_id": 99}, []),
        ({"last_update_before": now + hour}, [*jobs, child]),
        ({"last_update_before": now - hour}, []),
        ({"last_update_after": now - hour}, [*jobs, child]),
        ({"last_update_after": now + hour}, []),
        ({"workdir__contains": "dd/2"}, [jobs[2]]),
        ({"state__ne": "PREPROCESSED"}, [jobs[2], child]),
        ({"state": JobState.failed}, [jobs[2]]),
        ({"state": ["FAILED", JobState.awaiting_parents]}, [jobs[2], child]),
        ({"tags": {"exp": "one"}}, jobs),
        ({"tags": {"exp": "a:b", "n": 1}}, [child]),
        ({"tags": {"exp": "one", "n": 1}}, []),
        ({"tags": "exp:one"}, jobs),
        ({"tags": ["exp=a:b", "n:1"]}, [child]),
    ):
        found = Job.objects.filter(**filters)
        assert ids(found) == sorted(ids(expected)), filters
        assert found.count() == len(expected), filters


def test_every_site_and_app_filter(hello: Apps, lab: Site) -> None:
    Site.objects.create("other", "/home/me/other")
    hour = timedelta(hours=1)
    assert [s.name for s in Site.objects.filter(name="lab")] == ["lab"]
    assert [s.name for s in Site.objects.filter(path="me/la")] == ["lab"]
    assert Site.objects.filter(id=[lab.id]).count() == 1
    assert Site.objects.filter(last_refresh_after=datetime.utcnow() - hour).count() == 2
    assert Site.objects.filter(last_refresh_after=datetime.utcnow() + hour).count() == 0
    for filters in (
        {"site_id": lab},
        {"site_id": [lab.id]},
        {"id": hello.__app_id__},
        {"name": "Hello"},
        {"site_path": "me/lab"},
        {"site_name": "lab"},
    ):
        assert App.objects.get(**filters).id == hello.__app_id__
    assert App.objects.filter(site_name="other").count() == 0


def test_every_batch_job_filter(lab: Site) -> None:
    one = BatchJob.objects.create(1, 10, "mpi", lab.id, "p", "fast", filter_tags={"experiment": "foo"})
    two = BatchJob.objects.create(1, 10, "mpi", lab.id, "p", "slow")
    now, hour = datetime.utcnow(), timedelta(hours=1)
    one.scheduler_id, one.state, one.start_time, one.end_time = 77, "running", now, now + hour  # type: ignore[assignment]
    one.save()
    for filters, expected in (
        ({"id": [one.id, two.id]}, [one, two]),
        ({"site_id": lab.id}, [one, two]),
        ({"state": "running"}, [one]),
        ({"state": ["running", "pending_submission"]}, [one, two]),
        ({"scheduler_id": 77}, [one]),
        ({"queue": "slow"}, [two]),
        ({"start_time_before": now + hour}, [one]),
        ({"start_time_after": now - hour}, [one]),
        ({"end_time_before": now}, []),
        ({"end_time_after": now}, [one]),
        ({"filter_tags": {"experiment": "foo"}}, [one]),
    ):
        assert ids(BatchJob.objects.filter(**filters)) == ids(expected), filters
    assert BatchJob.objects.filter(start_time_after=now - hour).order_by("-start_time")[0].id == one.id


def test_every_event_filter(make_jobs: MakeJobs, lab: Site) -> None:
    jobs = make_jobs(2, tags={"experiment": "foo"})
    batch_job = BatchJob.objects.create(1, 10, "mpi", lab.id, "p", "q")
    batch_job.scheduler_id = 456
    batch_job.save()
    lease = Session.objects.create(lab, batch_job.id, fenced=True, num_nodes=1)
    (held,) = lease.acquire_jobs(1)
    held.state, held.state_data = JobState.running, {"note": "x"}
    held.save()
    event = EventLog.objects.get(to_state="RUNNING")
    day = timedelta(days=1)
    for filters in (
        {"id": event.id},
        {"job_id": [held.id], "to_state": "RUNNING"},
        {"data": {"note": "x"}},
        {"from_state": "PREPROCESSED", "to_state": "RUNNING"},
        {"from_state": [JobState.preprocessed], "to_state": ["RUNNING", "FAILED"]},
        {"batch_job_id": batch_job.id, "to_state": "RUNNING"},
        {"scheduler_id": 456, "to_state": "RUNNING"},
        {"tags": {"experiment": "foo"}, "to_state": "RUNNING"},
        {"site_id": lab, "to_state": "RUNNING"},
    ):
        assert EventLog.objects.get(**filters).id == event.id, filters
    assert EventLog.objects.filter(job_id=[1, 2], batch_job_id=123, scheduler_id=457).count() == 0
    assert EventLog.objects.filter(timestamp_after=datetime.utcnow() - day).count() == 5
    assert EventLog.objects.filter(timestamp_before=datetime.utcnow() - day).count() == 0
    assert EventLog.objects.filter(from_state="RESTART_READY", to_state="RUNNING").count() == 0
    assert {e.job_id for e in EventLog.objects.filter(job_id=jobs[1].id)} == {jobs[1].id}


def test_every_transfer_filter(lab: Site) -> None:
    lab.transfer_locations["far"] = "globus://e"
    lab.save()

    class Stage(ApplicationDefinition):
        site = "lab"
        command_template = "cat in.txt"
        transfers = {"infile": {"required": True, "direction": "in", "local_path": "in.txt"}}

    Stage.sync()
    job = Stage.submit("w", transfers={"infile": "far:/data/x"}, tags={"a": "b"})
    item = TransferItem.objects.get(job_id=job.id)
    for filters in (
        {"id": [item.id]},
        {"site_id": lab},
        {"state": "pending"},
        {"state": ["pending", "active"]},
        {"direction": "in"},
        {"job_state": "READY"},
        {"tags": {"a": "b"}},
    ):
        assert TransferItem.objects.get(**filters).id == item.id, filters
    assert TransferItem.objects.filter(direction="out").count() == 0
    assert TransferItem.objects.filter(job_id=job.id).update(state="active") == 1


def test_wrong_filters_name_the_nearest_right_one(lab: Site) -> None:
    with pytest.raises(TypeError, match=r"'sate'.*'state'"):
        Job.objects.filter(sate="FAILED")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'scheduler'.*'scheduler_id'"):
        EventLog.objects.get(scheduler=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"'RUNING'.*'RUNNING'"):
        Job.objects.filter(state=["RUNING"])
    with pytest.raises(TypeError, match="one value"):
        Job.objects.filter(state__ne=["FAILED"])  # type: ignore[arg-type]


def test_far_names_are_answered_with_all() -> None:
    assert unknown("X", "qqq", ["b", "a"]) == "X has no 'qqq'; it has: a, b"


def test_why_a_job_waits(hello: Apps) -> None:
    parent = hello.submit("p", name="x")
    child = hello.submit("c", name="x", parent_ids=[parent])
    assert child.why().job_id == child.id
    assert child.why().sentence
    assert {why.job_id for why in Job.objects.filter(state="AWAITING_PARENTS").why()} == {child.id}
    assert ids(child.parent_query()) == [parent.id]
    assert list(parent.parent_query()) == []


def test_why_says_that_there_are_more_and_tells_of_as_many_as_asked(
    make_jobs: MakeJobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind: a list that is cut in silence, here or by the server."""
    jobs = make_jobs(EXPLAINED + 5)
    query = Job.objects.filter(id=[job.id for job in jobs])
    assert len(query.why(limit=3)) == 3 and not caplog.records
    assert len(query.why()) == EXPLAINED
    assert "the first 100 only; why(limit=...) tells of more jobs" in caplog.text
    caplog.clear()
    monkeypatch.setattr("balsam.sdk.query.MAX_EXPLAINED", 40)  # of one answer
    told = query.why(limit=EXPLAINED + 5)
    assert [one.job_id for one in told] == [job.id for job in jobs] and not caplog.records
