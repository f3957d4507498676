"""Queries as columns, and bounded counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas
import polars
import pyarrow
import pytest

from balsam.api import BatchJob, EventLog, Job, Site
from balsam.client.errors import ServerRefused
from balsam.core.clock import UtcDatetime
from balsam.sdk.query import IDS_PER_REQUEST, BoundedCount
from tests.services import User

MakeJobs = Callable[..., list[Job]]


def _of_objects(query: Any, names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [getattr(one, name) for one in query] for name in names}


EVENT_FIELDS = ("id", "job_id", "timestamp", "from_state", "to_state", "data", "batch_job_id")


def test_columns_hold_what_objects_hold(make_jobs: MakeJobs) -> None:
    make_jobs(5, tags={"é": 'a "b"\\'})
    columns = EventLog.objects.all().to_columns()
    assert columns == _of_objects(EventLog.objects.all(), EVENT_FIELDS)
    assert type(columns["timestamp"][0]) is UtcDatetime
    jobs = Job.objects.all().order_by("-id").to_columns()
    some = ("id", "tags", "state", "num_nodes", "gpus_per_rank", "last_update", "pending_file_cleanup")
    expected = _of_objects(Job.objects.all().order_by("-id"), some)
    assert {name: jobs[name] for name in some} == expected
    assert [type(value) for value in jobs["gpus_per_rank"]] == [float] * 5
    assert [type(value) for value in jobs["pending_file_cleanup"]] == [bool] * 5
    assert jobs["workdir"][0] == "add/4" and jobs["parent_ids"][0] == []
    assert "serialized_parameters" not in jobs


def test_named_columns_filters_order_and_slices(make_jobs: MakeJobs) -> None:
    ids = sorted(job.id for job in make_jobs(7))
    assert Job.objects.filter(id=ids[2:]).to_columns("id") == {"id": ids[2:]}
    assert Job.objects.all().order_by("-id")[1:4].to_columns("id") == {"id": ids[::-1][1:4]}
    assert Job.objects.all().order_by("workdir").to_columns("workdir")["workdir"][0] == "add/0"
    assert Job.objects.filter(id=[]).to_columns("id", "state") == {"id": [], "state": []}
    assert Job.objects.filter(state="FAILED").to_columns("id", "tags") == {"id": [], "tags": []}
    with pytest.raises(TypeError, match="stat"):
        Job.objects.all().to_columns("stat")


def test_columns_of_more_ids_than_fit_into_one_request(make_jobs: MakeJobs) -> None:
    ids = [job.id for job in make_jobs(IDS_PER_REQUEST + 5)]
    found = Job.objects.filter(id=ids[::-1]).order_by("id").to_columns("id", "last_update")
    assert found["id"] == ids
    assert isinstance(found["last_update"][0], UtcDatetime)


def test_pages_of_columns_follow_each_other(make_jobs: MakeJobs, user: User) -> None:
    make_jobs(5)
    query = EventLog.objects.all()
    query.COLUMN_PAGE = 3
    assert query.to_columns() == EventLog.objects.all().to_columns()
    half = query[1:8]
    half.COLUMN_PAGE = 3
    assert half.to_columns("id")["id"] == [event.id for event in EventLog.objects.all()[1:8]]


def test_batch_jobs_as_columns(lab: Site) -> None:
    for nodes in (1, 2):
        BatchJob.objects.create(nodes, 10, "mpi", lab.id, "p", "q")
    columns = BatchJob.objects.all().to_columns("num_nodes", "state", "start_time", "job_mode")
    expected = {"num_nodes": [1, 2], "state": ["pending_submission"] * 2}
    assert columns == {**expected, "start_time": [None, None], "job_mode": ["mpi", "mpi"]}


def test_frames_of_each_package(make_jobs: MakeJobs) -> None:
    make_jobs(3, tags={"a": "1"})
    query = EventLog.objects.all()
    columns = query.to_columns()
    frame = query.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame) == list(EVENT_FIELDS)
    assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"
    assert str(frame["batch_job_id"].dtype) == "Int64" and frame["batch_job_id"].isna().all()
    assert frame["timestamp"].tolist() == columns["timestamp"] and frame["data"].tolist() == columns["data"]
    other = query.to_polars()
    assert other["timestamp"].dtype == polars.Datetime("us", "UTC")
    assert other["to_state"].to_list() == columns["to_state"]
    assert other["timestamp"].to_list() == columns["timestamp"]
    table = Job.objects.all().to_arrow("id", "tags", "last_update")
    assert table.schema.field("last_update").type == pyarrow.timestamp("us", "UTC")
    assert table["tags"].to_pylist() == ['{"a":"1"}'] * 3
    for made in (query[:0].to_pandas(), query[:0].to_polars()):
        assert len(made) == 0 and list(made.columns) == list(EVENT_FIELDS)


def test_a_package_that_is_missing_is_named() -> None:
    code = """
import sys
sys.modules["polars"] = None  # as if it were not there
from balsam.sdk import columns
from balsam.api import EventLog
try:
    columns.as_polars(EventLog, {"id": [1]})
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "to_polars() needs the package polars, which is not installed: pip install polars\n"


def test_unknown_columns_are_refused_by_the_server(me: User) -> None:
    with pytest.raises(ServerRefused, match="xid"):
        me.client.get("/events/", {"columns": ["id", "xid"]})


def test_bounded_counts(make_jobs: MakeJobs, me: User) -> None:
    make_jobs(3)
    assert Job.objects.all().bounded_count() == BoundedCount(3, True) == Job.objects.bounded_count()
    assert Job.objects.all()[1:].bounded_count() == BoundedCount(2, True)
    assert Job.objects.filter(id=[]).bounded_count() == BoundedCount(0, True)
    assert str(BoundedCount(100_000, False)) == "more than 100,000"
    answer = me.client.get("/events/", {"count": "bounded", "limit": 1})
    assert (answer["count"], answer["count_is_exact"]) == (6, True)
    assert "count_is_exact" not in me.client.get("/events/", {"limit": 1})


def test_strangers_see_nothing_in_columns(make_jobs: MakeJobs, new_user: Callable[[], User]) -> None:
    make_jobs(2)
    stranger = new_user().client
    assert EventLog.objects.using(stranger).all().to_columns("id") == {"id": []}
    assert Job.objects.using(stranger).all().bounded_count() == BoundedCount(0, True)
