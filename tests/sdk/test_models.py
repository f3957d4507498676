"""Objects of every kind: created, read, changed in place, saved, deleted."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from balsam.api import (
    App,
    ApplicationDefinition,
    BatchJob,
    BatchJobPartition,
    EventLog,
    Job,
    JobMode,
    JobState,
    Session,
    Site,
    TransferItem,
)
from balsam.schemas import AllowedQueue, BatchJobState
from balsam.sdk.context import session
from tests.services import User

Apps = type[ApplicationDefinition]


def test_site_fields_are_typed_and_saved(lab: Site) -> None:
    lab.path = "/elsewhere"  # type: ignore[assignment]
    lab.globus_endpoint_id = UUID(int=7)
    lab.allowed_queues = {"debug": AllowedQueue(max_nodes=2, max_walltime=30, max_queued_jobs=1)}
    lab.optional_batch_job_params["fast"] = "yes"
    lab.save()
    again = Site.objects.get(id=lab.id)
    assert again.path == Path("/elsewhere")
    assert again.globus_endpoint_id == UUID(int=7)
    assert again.allowed_queues["debug"].max_walltime == 30
    assert again.optional_batch_job_params == {"fast": "yes"}
    assert abs(datetime.now(UTC) - again.creation_date) < timedelta(minutes=1)


def test_only_changed_fields_are_sent(lab: Site) -> None:
    lab.allowed_projects.append("physics")
    assert lab.path and lab.queued_jobs == {}  # reading is no change
    lab.name = "lab"
    assert lab.changed() == {"allowed_projects": ["physics"]}


def test_a_save_without_changes_asks_nothing_of_the_server(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    job.client().close()
    job.save()


def test_dicts_changed_in_place_are_noticed_and_saved(hello: Apps) -> None:
    job = hello.submit("w", name="x", tags={"a": "1"}, data={"deep": {"list": [1]}})
    job.data["deep"]["list"].append(2)
    job.data["n"] = 1
    job.tags["b"] = "2"
    job.save()
    again = Job.objects.get(id=job.id)
    assert again.data == {"deep": {"list": [1, 2]}, "n": 1}
    assert again.tags == {"a": "1", "b": "2"}
    assert job.changed() == {}


def test_a_job_holds_copies_of_what_it_was_given(hello: Apps) -> None:
    data = {"n": [1]}
    job = hello.submit("w", name="x", data=data, save=False)
    data["n"].append(2)
    assert job.data == {"n": [1]}


def test_job_fields_have_their_types(hello: Apps) -> None:
    job = hello.submit("a/b", name="x", gpus_per_rank=0.5, wall_time_min=7, priority=3, tags={"n": 5})
    job = Job.objects.get(id=job.id)
    assert job.workdir == Path("a/b")
    assert job.state is JobState.preprocessed
    assert job.parent_ids == set()
    assert job.tags == {"n": "5"}
    assert (job.gpus_per_rank, job.wall_time_min, job.priority) == (0.5, 7, 3)
    assert job.last_update <= datetime.utcnow() + timedelta(minutes=1)  # naive times compare as UTC
    assert job.resolve_workdir("/site/data") == Path("/site/data/a/b")


def test_our_own_job_fields_are_created_and_updated(hello: Apps) -> None:
    job = hello.submit("w", name="x", parents_must="end", max_restarts=2, mem_mb_per_rank=512)
    assert (job.parents_must, job.max_restarts, job.mem_mb_per_rank) == ("end", 2, 512)
    job.max_restarts = 9
    job.priority = -1
    job.save()
    job = Job.objects.get(id=job.id)
    assert (job.max_restarts, job.priority) == (9, -1)


def test_fields_that_may_not_change_are_refused_by_name(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    for name in ("app_id", "id", "last_update", "parent_ids"):
        with pytest.raises(AttributeError, match=name):
            setattr(job, name, 1)
    with pytest.raises(AttributeError, match="state"):
        Job("w", hello, parameters={"name": "x"}).state = JobState.running


def test_wrong_names_are_answered_with_the_nearest_right_one(hello: Apps) -> None:
    with pytest.raises(TypeError, match=r"'num_node'.*'num_nodes'"):
        Job("w", hello, num_node=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'filter_tag'.*'filter_tags'"):
        BatchJob(1, 1, "mpi", 1, "p", "q", filter_tag={})  # type: ignore[call-arg]
    job = hello.submit("w", name="x")
    with pytest.raises(AttributeError, match=r"'wall_time'.*'wall_time_min'"):
        job.wall_time = 5
    with pytest.raises(AttributeError, match=r"'workdri'.*'workdir'"):
        job.workdri  # type: ignore[attr-defined]  # noqa: B018


def test_a_wrong_value_names_field_and_value(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    with pytest.raises(ValueError, match=r"Job.state can't be 'RUNING'"):
        job.state = "RUNING"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("tags", "foo", "a dict"),
        ("parent_ids", {"a"}, "ids"),
        ("parent_ids", 3, "ids"),
        ("parent_ids", "3", "ids"),
    ],
)
def test_a_value_of_a_wrong_type_is_told_what_is_expected(field: str, value: object, expected: str) -> None:
    with pytest.raises(TypeError, match=rf"Job.{field} can't be .*{expected}.* expected"):
        Job("w", 1, **{field: value})  # type: ignore[arg-type]


def test_a_filter_by_tags_takes_a_dict_or_texts_and_an_update_a_dict(lab: Site) -> None:
    with pytest.raises(TypeError, match=r"Job.tags can't be 'foo': a dict"):
        Job.objects.all().update(tags="foo")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"'tags' of Job takes a dict.*'foo'"):
        Job.objects.filter(tags="foo")


def test_state_data_and_time_go_into_the_event(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    stamp = datetime.utcnow() - timedelta(seconds=5)
    job.state, job.state_timestamp, job.state_data = JobState.running, stamp, {"note": "by hand"}  # type: ignore[assignment]
    job.save()
    event = EventLog.objects.filter(job_id=job.id, to_state="RUNNING").first()
    assert event is not None
    assert event.data["note"] == "by hand"
    assert event.timestamp == stamp
    assert job.state_data == {} and job.state_timestamp is None


def test_a_saved_state_is_what_the_server_made_of_it(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    for state in (JobState.running, JobState.run_done):
        job.state = state
        job.save()
    assert job.state is JobState.job_finished


def test_deleted_jobs_are_gone(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    copy_of_it = Job.objects.get(id=job.id)
    job.delete()
    with pytest.raises(Job.DoesNotExist, match=str(copy_of_it.id)):
        copy_of_it.refresh_from_db()
    with pytest.raises(Job.DoesNotExist):
        Job.objects.get(id=copy_of_it.id)


def test_exceptions_are_one_class_for_all(lab: Site) -> None:
    assert Job.DoesNotExist is Site.DoesNotExist is EventLog.DoesNotExist
    assert Job.MultipleObjectsReturned is App.MultipleObjectsReturned
    assert issubclass(Job.NoResult, ValueError)
    Site.objects.create("lab2", "/home/me/lab")
    with pytest.raises(Site.MultipleObjectsReturned):
        Site.objects.get(path="/home/me/lab")


def test_equal_means_the_same_object_of_the_same_server(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    again = Job.objects.get(id=job.id)
    assert job == again and len({job, again}) == 1
    assert job != hello.submit("w", name="x")
    with pytest.raises(TypeError, match="not saved"):
        hash(hello.submit("w", name="x", save=False))


def test_copies_and_pickles_hold_no_connection(hello: Apps, me: User) -> None:
    job = hello.submit("w", name="x", data={"n": 1})
    twin = pickle.loads(pickle.dumps(copy.copy(job)))
    assert twin.data == {"n": 1}
    twin.refresh_from_db()
    assert twin.id == job.id


def test_batch_job_life(lab: Site) -> None:
    part = BatchJobPartition(job_mode=JobMode.mpi, num_nodes=2, filter_tags={"a": "b"})
    other = BatchJobPartition(job_mode=JobMode.serial, num_nodes=1)
    batch_job = BatchJob.objects.create(
        3, 10, "mpi", lab, "physics", "debug", partitions=[part, other], optional_params={"fast": True}
    )
    assert batch_job.state is BatchJobState.pending_submission
    assert batch_job.optional_params == {"fast": "True"}
    assert batch_job.partitions_to_cli_args() == "--part mpi:2:a=b --part serial:1"
    batch_job.state = BatchJobState.running
    batch_job.scheduler_id = 123
    batch_job.start_time = datetime.utcnow()  # type: ignore[assignment]
    batch_job.status_info["host"] = "n1"
    batch_job.save()
    again = BatchJob.objects.get(scheduler_id=123)
    assert again.partitions == [part, other]
    assert again.status_info["host"] == "n1"
    with pytest.raises(AttributeError):
        again.num_nodes = 4


def test_batch_job_is_checked_against_the_site(lab: Site) -> None:
    queues = {"debug": AllowedQueue(max_nodes=2, max_walltime=30, max_queued_jobs=1)}

    def check(nodes: int = 1, minutes: int = 1, project: str = "p", queue: str = "debug") -> None:
        BatchJob(nodes, minutes, "mpi", lab, project, queue).validate(queues, ["p"], {})

    check()
    for wrong, told in (
        ({"queue": "fast"}, "debug"),
        ({"project": "x"}, "p"),
        ({"nodes": 3}, "2"),
        ({"minutes": 31}, "30"),
    ):
        with pytest.raises(ValueError, match=told):
            check(**wrong)


def test_bulk_update_of_batch_jobs(lab: Site) -> None:
    batch_jobs = [BatchJob.objects.create(1, minutes, "mpi", lab, "p", "q") for minutes in (1, 2)]
    for batch_job in batch_jobs:
        batch_job.state = BatchJobState.queued
    assert BatchJob.objects.bulk_update(batch_jobs) == 2
    assert BatchJob.objects.filter(state="queued").count() == 2
    assert BatchJob.objects.filter(state="queued").update(state="pending_deletion") == 2
    assert {b.state for b in BatchJob.objects.all()} == {BatchJobState.pending_deletion}


def test_transfer_items_of_a_job(lab: Site) -> None:
    lab.transfer_locations["far"] = "globus://e"
    lab.save()

    class Stage(ApplicationDefinition):
        site = "lab"
        command_template = "cat in.txt"
        transfers = {"infile": {"required": True, "direction": "in", "local_path": "in.txt"}}

    Stage.sync()
    with pytest.raises(ValueError, match="infile"):
        Stage.submit("w")
    with pytest.raises(ValueError, match=r"'infil'.*'infile'"):
        Stage.submit("w", transfers={"infil": "far:/x"})
    job = Stage.submit("w", transfers={"infile": "far:/data/x"})
    assert job.state == "READY"
    (item,) = TransferItem.objects.filter(job_id=job.id)
    assert (item.local_path, item.remote_path) == (Path("in.txt"), Path("/data/x"))
    item.state, item.transfer_info = "done", {"bytes": 3}  # type: ignore[assignment]
    item.save()
    assert Job.objects.get(id=job.id).state is JobState.preprocessed
    with pytest.raises(NotImplementedError):
        item.delete()
    other = Stage.submit("w2", transfers={"infile": "far:/data/x"})
    TransferItem.objects.filter(job_id=other.id).delete()
    assert TransferItem.objects.filter(job_id=other.id).count() == 0
    assert TransferItem.objects.filter(job_id=job.id).count() == 1
    other.refresh_from_db()
    assert other.state is JobState.preprocessed, "it waits for nothing any more"


def test_sessions_lease_jobs(hello: Apps, lab: Site) -> None:
    for number in range(3):
        hello.submit(f"w/{number}", name="x")
    lease = Session.objects.create(lab, fenced=True, num_nodes=1)
    assert lease.tick() is None
    taken = lease.acquire_jobs(2, key="k1")
    assert [job.id for job in lease.acquire_jobs(2, key="k1")] == [job.id for job in taken]
    assert len(taken) == 2 and all(job.session_id == lease.id for job in taken)
    assert Job.objects.filter(session_id=lease.id).count() == 2

    mine, theirs = taken[0], Job.objects.get(id=taken[0].id)
    theirs.state = JobState.running
    with pytest.raises(Exception, match=str(lease.id)):
        theirs.save()
    mine.state = JobState.running
    mine.save()
    assert mine.state is JobState.running

    told = lease.tick(job_ids=[job.id for job in taken])
    assert told is not None and told.in_step
    lease.refresh_from_db()
    assert Session.objects.count() == 1 and Session.objects.get(id=lease.id).heartbeat == lease.heartbeat
    lease.delete()
    assert Job.objects.get(id=mine.id).state is JobState.restart_ready


def test_events_are_read_only(hello: Apps) -> None:
    hello.submit("w", name="x")
    event = EventLog.objects.first()
    assert event is not None
    with pytest.raises(AttributeError):
        event.to_state = "FAILED"
    with pytest.raises(NotImplementedError):
        event.delete()
    with pytest.raises(NotImplementedError):
        EventLog().save()


def test_two_users_of_one_process_never_mix(new_user: object) -> None:
    ann, bob = new_user(), new_user()  # type: ignore[operator]
    with session(ann.client):
        site = Site.objects.create("shared-name", "/ann")
    theirs = Site.objects.using(bob.client).create("shared-name", "/bob")
    with session(bob.client):
        site.path = Path("/ann/moved")
        site.save()  # acts as Ann, from whom it came
        assert [s.path for s in Site.objects.all()] == [Path("/bob")]
        with pytest.raises(Site.DoesNotExist):
            Site.objects.get(id=site.id)
    with session(ann.client):
        assert [s.path for s in Site.objects.all()] == [Path("/ann/moved")]
        theirs.delete()
    assert Site.objects.using(bob.client).count() == 0


def test_one_app_class_serves_two_users(new_user: object) -> None:
    class Echo(ApplicationDefinition):
        site = "lab"
        command_template = "echo"

    jobs = []
    for who in (new_user(), new_user()):  # type: ignore[operator]
        with session(who.client):
            Site.objects.create("lab", "/lab")
            Echo.sync()
            jobs.append((who, Echo.submit("w")))
    first, job = jobs[0]
    with session(first.client):
        assert Echo.submit("w").app_id == job.app_id


def test_what_is_printed_of_a_job_is_every_field_but_payloads(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    shown = job.display_dict()
    assert shown["workdir"] == "w" and shown["state"] == "PREPROCESSED"
    assert shown["serialized_parameters"]
    read = yaml.safe_load(str(job))
    assert read == {name: value for name, value in shown.items() if not name.startswith("serialized_")}
    assert "workdir=PosixPath('w')" in repr(job) and "serialized_parameters" not in repr(job)
    assert set(Job.FIELDS) <= set(dir(job))
    assert "app_id" in str(hello.submit("w", name="x", save=False))
