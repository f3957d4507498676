"""Goes through the public interface as a user's script would: `python surface.py`; prints JSON.

Runs with the published release and with this one; the server sees a user without anything.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from balsam import analytics
from balsam.api import (
    ApplicationDefinition,
    BatchJob,
    BatchJobPartition,
    EventLog,
    Job,
    JobState,
    JobTransferItem,
    Session,
    Site,
    TransferItem,
    TransferSlot,
)

Told = dict[str, Any]
HOUR = timedelta(hours=1)
UUID = "11111111-2222-3333-4444-555555555555"


def plain(value: Any) -> Any:
    """What JSON can say of a value; of a time, that it is one."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return "time"
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "dict"):
        return plain(value.dict())
    return value if isinstance(value, str | int | float | None) else str(value)


def refused(act: Callable[[], Any]) -> str:
    """The name of the exception that a call raises."""
    try:
        return f"returned {plain(act())!r}"
    except Exception as exc:
        return type(exc).__name__


def fields(obj: Any, *names: str) -> Told:
    return {name: plain(getattr(obj, name)) for name in names}


def workdirs(jobs: Iterable[Any]) -> list[str]:
    return [str(job.workdir) for job in jobs]


def sites() -> Told:
    now = datetime.utcnow()
    lab = Site.objects.create(name="lab", path="/home/alice/sites/lab")
    full = Site.objects.create(
        name="full",
        path="/home/alice/sites/full",
        globus_endpoint_id=UUID,
        backfill_windows={"local": [{"num_nodes": 4, "wall_time_min": 30}]},
        queued_jobs={
            123: {
                "scheduler_id": 123,
                "state": "queued",
                "queue": "local",
                "num_nodes": 1,
                "wall_time_min": 10,
                "project": "local",
                "time_remaining_min": 10,
                "queued_time_min": 2,
            }
        },
        optional_batch_job_params={"shout": "no"},
        allowed_projects=["local"],
        allowed_queues={"local": {"max_nodes": 1, "max_walltime": 60, "max_queued_jobs": 5}},
        transfer_locations={"lab_dtn": f"globus://{UUID}"},
    )
    constructed = Site(name="third", path=Path("/third"))
    constructed.save()
    told: Told = {
        "created": fields(lab, "name", "path", "allowed_projects", "creation_date", "last_refresh"),
        "full": fields(
            full,
            "globus_endpoint_id",
            "backfill_windows",
            "queued_jobs",
            "optional_batch_job_params",
            "allowed_projects",
            "allowed_queues",
            "transfer_locations",
        ),
        "get": Site.objects.get(name="lab").id == lab.id,
        "get by id": Site.objects.get(id=full.id).name,
        "filter path": [s.name for s in Site.objects.filter(path="sites/")],
        "filter ids": [s.name for s in Site.objects.filter(id=[full.id, constructed.id])],
        "filter refreshed since": Site.objects.filter(last_refresh_after=now - HOUR).count(),
        "filter refreshed later": Site.objects.filter(last_refresh_after=now + HOUR).count(),
        "chained": [s.name for s in Site.objects.filter(path="sites/").filter(name="full")],
        "all": [s.name for s in Site.objects.all()],
        "count": Site.objects.count(),
        "first": Site.objects.first().name,
        "item": Site.objects.all()[1].name,
        "slice": [s.name for s in Site.objects.all()[1:3]],
        "step": [s.name for s in Site.objects.all()[0:3:2]],
        "len": len(Site.objects.all()),
        "bool": [bool(Site.objects.all()), bool(Site.objects.filter(name="none"))],
        "missing": refused(lambda: Site.objects.get(name="none")),
        "too many": refused(lambda: Site.objects.get()),
        "bulk_create": refused(lambda: Site.objects.bulk_create([Site(name="x", path="/x")])),
        "query update": refused(lambda: Site.objects.all().update(name="x")),
    }
    lab.path = Path("/home/alice/elsewhere")
    lab.allowed_projects = ["a", "b"]
    lab.save()
    constructed.delete()
    again = Site.objects.get(name="lab")
    lab.refresh_from_db()
    told["saved"] = fields(again, "path", "allowed_projects")
    told["refreshed"] = fields(lab, "path", "allowed_projects")
    told["deleted"] = Site.objects.count()
    told["shown"] = sorted(lab.display_dict())[:3]
    return told


class Hello(ApplicationDefinition):
    """Says hello."""

    site = "lab"
    command_template = "echo Hello, {{ name }} {{ mark }}"
    parameters = {"mark": {"required": False, "default": "!", "help": "after the name"}}
    environment_variables = {"HELLO": "1"}
    cleanup_files = ["*.tmp"]


class Add(ApplicationDefinition):
    site = "lab"

    def run(self, x: int, y: int = 2) -> int:
        return x + y


class Move(ApplicationDefinition):
    site = "full"
    command_template = "cp in.txt out.txt"
    transfers = {
        "input": TransferSlot(
            required=True, direction="in", local_path="in.txt", description="", recursive=False
        ),
        "output": TransferSlot(
            required=False, direction="out", local_path="out.txt", description="", recursive=False
        ),
    }


def apps() -> Told:
    for app in (Hello, Add, Move):
        app.sync()
    Hello.sync()  # again, without a change
    first_id = Hello.__app_id__
    loaded = ApplicationDefinition.load_by_name("Hello")
    by_site = ApplicationDefinition.load_by_site("lab")
    add = ApplicationDefinition.load_by_id(Add.__app_id__)
    described = Hello.to_dict()
    return {
        "ids": [isinstance(app.__app_id__, int) for app in (Hello, Add, Move)],
        "same after sync": first_id == Hello.__app_id__,
        "loaded": [loaded.__name__, loaded.command_template, loaded.environment_variables],
        "by site": sorted(by_site),
        "runs": add.run(None, 3),
        "site": Hello.resolve_site_id() == Site.objects.get(name="lab").id,
        "described": [described["name"], described["description"], plain(described["parameters"])],
        "unknown": refused(lambda: ApplicationDefinition.load_by_name("Nope")),
    }


def jobs() -> Told:
    now = datetime.utcnow()
    lab = Site.objects.get(name="lab")
    one = Hello.submit("demo/one", tags={"exp": "one", "k": "1"}, name="alice")
    bare = Hello.submit(workdir="demo/unsaved", save=False, name="bob")
    add = Job(
        "demo/add",
        Add.__app_id__,
        tags={"exp": "add"},
        parameters={"x": 1},
        data={"a": 1, "b": [1, 2]},
        num_nodes=2,
        ranks_per_node=3,
        threads_per_rank=4,
        threads_per_core=2,
        launch_params={"cpu-bind": "none"},
        gpus_per_rank=0.5,
        node_packing_count=2,
        wall_time_min=7,
        parent_ids={one.id},
    )
    add.save()
    by_name = Job.objects.create("demo/by-name", app_id="Add", site_name="lab", parameters={"x": 5})
    bulk = Job.objects.bulk_create(
        [
            Job(f"bulk/{i}", Add.__app_id__, tags={"exp": "bulk", "i": str(i)}, parameters={"x": i})
            for i in range(6)
        ]
    )
    all_jobs = Job.objects.all()
    told: Told = {
        "submitted": fields(one, "state", "tags", "num_nodes", "parent_ids", "last_update", "data"),
        "parameters": one.get_parameters(),
        "unsaved": bare.id if hasattr(bare, "id") else None,
        "full": fields(
            add,
            "state",
            "data",
            "num_nodes",
            "ranks_per_node",
            "threads_per_rank",
            "threads_per_core",
            "launch_params",
            "gpus_per_rank",
            "node_packing_count",
            "wall_time_min",
            "return_code",
            "pending_file_cleanup",
        ),
        "parents": [add.parent_ids == {one.id}, workdirs(add.parent_query())],
        "by name": by_name.app_id == Add.__app_id__,
        "app": add.app.__name__,
        "workdir": str(one.resolve_workdir(Path("/data"))),
        "bulk": workdirs(bulk),
        "get": Job.objects.get(id=add.id).get_parameters(),
        "count": Job.objects.count(),
        "first": str(Job.objects.first().workdir),
        "last": str(Job.objects.all()[9 - 1].workdir),
        "slice": workdirs(Job.objects.filter(tags={"exp": "bulk"})[1:3]),
        "step": workdirs(Job.objects.filter(tags={"exp": "bulk"})[0:5:2]),
        "negative": refused(lambda: Job.objects.all()[-1]),
        "len": len(all_jobs),
        "by ids": workdirs(Job.objects.filter(id=[one.id, add.id])),
        "by parent": workdirs(Job.objects.filter(parent_id=one.id)),
        "by parents": workdirs(Job.objects.filter(parent_id=[one.id, add.id])),
        "by app": workdirs(Job.objects.filter(app_id=Hello.__app_id__)),
        "by site": Job.objects.filter(site_id=[lab.id]).count(),
        "by batch job": Job.objects.filter(batch_job_id=10**6).count(),
        "by window": Job.objects.filter(last_update_after=now - HOUR, last_update_before=now + HOUR).count(),
        "by later": Job.objects.filter(last_update_after=now + HOUR).count(),
        "by aware": Job.objects.filter(last_update_before=datetime.now(timezone(HOUR)) + HOUR).count(),
        "by workdir": workdirs(Job.objects.filter(workdir__contains="mo/a")),
        "by state": workdirs(Job.objects.filter(state="AWAITING_PARENTS")),
        "by states": Job.objects.filter(state=[JobState.staged_in, JobState.awaiting_parents]).count(),
        "not in state": workdirs(Job.objects.filter(state__ne="STAGED_IN")),
        "by tags": workdirs(Job.objects.filter(tags={"exp": "bulk", "i": "1"})),
        "for cleanup": Job.objects.filter(pending_file_cleanup=True).count(),
        "not for cleanup": Job.objects.filter(pending_file_cleanup=False).count(),
        "ordered by id": workdirs(Job.objects.filter(tags={"exp": "bulk"}).order_by("-id"))[:2],
        "ordered by workdir": workdirs(Job.objects.all().order_by("workdir"))[:2],
        "ordered by workdir down": workdirs(Job.objects.all().order_by("-workdir"))[:2],
        "ordered by state": workdirs(Job.objects.all().order_by("state"))[:1],
        "ordered by state down": workdirs(Job.objects.all().order_by("-state"))[-1:],
        "ordered by update": workdirs(Job.objects.all().order_by("last_update"))[:1],
        "no result": refused(one.result_nowait),
        "not done": one.done(),
    }
    told |= changed_jobs(one, bulk)
    return told


def changed_jobs(one: Job, bulk: list[Job]) -> Told:
    told: Told = {}
    one.tags["k"] = "2"
    one.tags = {**one.tags, "new": "x:y"}
    one.wall_time_min = 9
    one.data = {"z": 1}
    one.save()
    other = Job.objects.get(id=one.id)
    told["saved"] = fields(other, "tags", "wall_time_min", "data")
    told["by colon"] = Job.objects.filter(tags={"new": "x:y"}).count()
    other.set_parameters({"name": "carol"})
    other.save()
    one.refresh_from_db()
    told["new parameters"] = one.get_parameters()
    told["read only"] = refused(lambda: setattr(one, "last_update", 1))
    one.state = JobState.preprocessed
    one.state_timestamp = datetime.utcnow()
    one.state_data = {"message": "by hand"}
    one.save()
    told["moved"] = Job.objects.get(id=one.id).state.value
    told["its event"] = [
        plain(e.data) for e in EventLog.objects.filter(job_id=one.id, to_state="PREPROCESSED")
    ]
    for job in bulk[:3]:
        job.state = JobState.preprocessed
    told["bulk update"] = refused(lambda: Job.objects.bulk_update(bulk[:3]))
    bulk[3].tags = {"exp": "bulk", "i": "33"}
    bulk[4].num_nodes = 3
    told["mixed update"] = refused(lambda: Job.objects.bulk_update(bulk[3:5]))
    refreshed = Job.objects.bulk_refresh(bulk[:5])
    now = Job.objects.filter(id=[job.id for job in bulk])
    told["after them"] = [[str(j.state.value), j.tags["i"], j.num_nodes] for j in now]
    told["refreshed"] = [job.state.value for job in (refreshed or bulk[:5])][:4]
    told["query update"] = Job.objects.filter(tags={"exp": "bulk"}).update(wall_time_min=4)
    told["query update of none"] = plain(Job.objects.filter(tags={"exp": "none"}).update(wall_time_min=4))
    told["updated"] = [job.wall_time_min for job in Job.objects.filter(tags={"exp": "bulk"})]
    bulk[5].delete()
    Job.objects.filter(tags={"exp": "bulk", "i": "33"}).delete()
    told["deleted"] = workdirs(Job.objects.filter(tags={"exp": "bulk"}))
    told["wrong field"] = refused(lambda: Job.objects.filter(nope=1).count())  # type: ignore[call-arg]
    return told


def results() -> Told:
    """What came of jobs, as a published site reports it."""
    from balsam.schemas import serialize, serialize_exception

    finished, failed, waiting = (Add.submit(f"results/{i}", tags={"exp": "results"}, x=i) for i in range(3))
    for state in ("PREPROCESSED", "RUNNING", "RUN_DONE", "POSTPROCESSED"):
        finished.refresh_from_db()
        if finished.state != JobState.job_finished:
            finished.state = JobState(state)
            finished.save()
    Job.objects.filter(id=finished.id).update(serialized_return_value=serialize({"sum": 2}))
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as exc:
        payload = serialize_exception(exc)
    Job.objects.filter(id=failed.id).update(state=JobState.failed, serialized_exception=payload)
    some = Job.objects.wait([finished, failed, waiting], timeout=5, return_when="FIRST_COMPLETED")
    rest = Job.objects.wait([finished, waiting], timeout=0.1, poll_interval=0.05)
    completed = Job.objects.as_completed([finished, failed], timeout=5)
    finished.refresh_from_db()
    return {
        "state": finished.state.value,
        "done": [finished.done(), waiting.done()],
        "result": finished.result(timeout=5),
        "exception": refused(lambda: failed.result(timeout=5)),
        "exception now": refused(Job.objects.get(id=failed.id).result_nowait),
        "wait": [workdirs(sorted(some.done, key=lambda j: j.id)), workdirs(some.not_done)],
        "wait for all": [workdirs(rest.done), workdirs(rest.not_done)],
        "as completed": sorted(workdirs(completed)),
        "time out": refused(lambda: waiting.result(timeout=0.1)),
    }


def batch_jobs() -> Told:
    full = Site.objects.get(name="full")
    plain_job = BatchJob.objects.create(
        num_nodes=1, wall_time_min=10, job_mode="mpi", site_id=full.id, project="local", queue="local"
    )
    parted = BatchJob(
        num_nodes=1,
        wall_time_min=10,
        job_mode="serial",
        site_id=full.id,
        project="local",
        queue="local",
        optional_params={"shout": "yes"},
        filter_tags={"exp": "bulk"},
        partitions=[BatchJobPartition(job_mode="mpi", num_nodes=1, filter_tags={"a": "1"})],
    )
    parted.save()
    told: Told = {
        "created": fields(
            plain_job, "num_nodes", "wall_time_min", "job_mode", "project", "queue", "state", "scheduler_id"
        ),
        "parted": fields(parted, "optional_params", "filter_tags", "partitions"),
        "cli": parted.partitions_to_cli_args(),
    }
    start = datetime.utcnow() - HOUR
    plain_job.state, plain_job.scheduler_id = "running", 1234
    plain_job.start_time = start
    plain_job.status_info = {"message": "x"}
    plain_job.save()
    parted.state = "queued"
    BatchJob.objects.bulk_update([parted])
    every = BatchJob.objects.all()
    told |= {
        "saved": fields(
            BatchJob.objects.get(id=plain_job.id), "state", "scheduler_id", "start_time", "status_info"
        ),
        "start": (BatchJob.objects.get(id=plain_job.id).start_time - start) == timedelta(0),
        "bulk": plain(BatchJob.objects.get(id=parted.id).state),
        "count": every.count(),
        "by site": BatchJob.objects.filter(site_id=full.id).count(),
        "by state": [b.id == plain_job.id for b in BatchJob.objects.filter(state="running")],
        "by states": BatchJob.objects.filter(state=["running", "queued"]).count(),
        "by scheduler": BatchJob.objects.filter(scheduler_id=1234).count(),
        "by queue": [BatchJob.objects.filter(queue=q).count() for q in ("local", "other")],
        "by tags": [b.id == parted.id for b in BatchJob.objects.filter(filter_tags={"exp": "bulk"})],
        "by start": [
            BatchJob.objects.filter(start_time_after=start - HOUR).count(),
            BatchJob.objects.filter(start_time_before=start - HOUR).count(),
        ],
        "by end": BatchJob.objects.filter(end_time_after=start, end_time_before=start + HOUR).count(),
        "ordered": [
            b.id == plain_job.id for b in BatchJob.objects.filter(state="running").order_by("-start_time")
        ],
        "first": BatchJob.objects.first().id == plain_job.id,
        "query update": refused(lambda: every.update(state="pending_deletion")),
    }
    parted.delete()
    told["deleted"] = BatchJob.objects.count()
    return told


def acquired(session: Session, **conditions: Any) -> list[str]:
    return workdirs(session.acquire_jobs(**conditions))


def runnable(lab: Site, wanted: list[tuple[int, int, int]]) -> None:
    """Jobs of (nodes, jobs that share a node, minutes), ready to run."""
    for i, (nodes, packing, minutes) in enumerate(wanted):
        Add.submit(
            f"run/{i}",
            tags={"exp": "run", "i": str(i)},
            num_nodes=nodes,
            node_packing_count=packing,
            wall_time_min=minutes,
            x=i,
        )
    Job.objects.filter(tags={"exp": "run"}).update(state=JobState.preprocessed)


def sessions() -> Told:
    lab, full = Site.objects.get(name="lab"), Site.objects.get(name="full")
    runnable(lab, [(1, 1, 0), (2, 1, 5), (1, 2, 20), (1, 2, 3), (4, 1, 60), (1, 1, 90), (2, 1, 10)])
    batch = BatchJob.objects.get(site_id=full.id)
    session = Session.objects.create(site_id=lab.id)
    other = Session(site_id=lab.id)
    other.save()
    with_batch = Session.objects.create(site_id=full.id, batch_job_id=batch.id)
    run = {"exp": "run"}
    told: Told = {
        "created": [session.site_id == lab.id, session.batch_job_id, plain(session.heartbeat)],
        "with batch job": with_batch.batch_job_id == batch.id,
        "by tags": acquired(session, max_num_jobs=9, filter_tags=run | {"i": "0"}),
        "other app": acquired(session, max_num_jobs=9, filter_tags=run, app_ids={Hello.__app_id__}),
        "longest and largest": acquired(
            session, max_num_jobs=2, max_wall_time_min=60, sort_by="long_large_first", filter_tags=run
        ),
        "serial": sorted(
            acquired(
                session,
                max_num_jobs=9,
                max_wall_time_min=7.977,
                max_nodes_per_job=1,
                serial_only=True,
                filter_tags=run,
            )
        ),
        "what fits two nodes": acquired(
            session,
            max_num_jobs=9,
            max_wall_time_min=60,
            max_nodes_per_job=2,
            max_aggregate_nodes=2.0,
            filter_tags=run,
            app_ids={Add.__app_id__},
        ),
        "the rest": acquired(session, max_num_jobs=9, filter_tags=run),
        "held by another": acquired(other, max_num_jobs=9, filter_tags=run),
        "of states": acquired(
            other, max_num_jobs=100, states={JobState.staged_in}, filter_tags={"exp": "bulk"}
        ),
        "under the limit": refused(lambda: session.acquire_jobs(max_num_jobs=0)),
        "listed": Session.objects.filter(id=session.id).count(),
        "all": len(Session.objects.all()),
        "tick": session.tick(),
    }
    started = Job.objects.get(tags={"exp": "run", "i": "0"})
    started.state = JobState.running
    started.save()
    session.delete()
    started.refresh_from_db()
    told["after its end"] = [started.state.value, len(acquired(other, max_num_jobs=9, filter_tags=run))]
    return told


def transfers() -> Told:
    full = Site.objects.get(name="full")
    item = JobTransferItem(location_alias="lab_dtn", path="/data/in.txt")
    job = Move.submit(
        "move/1", tags={"exp": "move"}, transfers={"input": item, "output": "lab_dtn:/data/out.txt"}
    )
    items = TransferItem.objects.filter(job_id=job.id)
    inward = TransferItem.objects.get(job_id=job.id, direction="in")
    told: Told = {
        "state": job.state.value,
        "items": sorted(
            [
                plain(i.direction),
                plain(i.state),
                str(i.local_path),
                str(i.remote_path),
                i.location_alias,
                i.recursive,
            ]
            for i in items
        ),
        "by site": TransferItem.objects.filter(site_id=full.id).count(),
        "by state": TransferItem.objects.filter(state=["pending", "awaiting_job"]).count(),
        "by job state": TransferItem.objects.filter(job_state="READY").count(),
        "by tags": TransferItem.objects.filter(tags={"exp": "move"}).count(),
        "by ids": TransferItem.objects.filter(id=[i.id for i in items]).count(),
        "first": TransferItem.objects.first().job_id == job.id,
    }
    inward.state, inward.task_id, inward.transfer_info = "active", "task-1", {"bytes": 10}
    inward.save()
    told["saved"] = fields(TransferItem.objects.get(id=inward.id), "state", "task_id", "transfer_info")
    inward.state = "done"
    TransferItem.objects.bulk_update([inward])
    job.refresh_from_db()
    told["staged"] = job.state.value
    batch = BatchJob.objects.get(site_id=full.id)
    session = Session.objects.create(site_id=full.id, batch_job_id=batch.id)
    told["acquired"] = acquired(session, max_num_jobs=5, states={JobState(job.state)})
    told["its batch job"] = workdirs(Job.objects.filter(batch_job_id=batch.id))
    for state in ("PREPROCESSED", "RUNNING", "RUN_DONE", "POSTPROCESSED"):
        job.state = JobState(state)
        job.save()
    outward = TransferItem.objects.get(job_id=job.id, direction="out")
    told["going out"] = [Job.objects.get(id=job.id).state.value, plain(outward.state)]
    outward.state = "done"
    outward.save()
    told["at the end"] = Job.objects.get(id=job.id).state.value
    of_batch = EventLog.objects.filter(batch_job_id=batch.id, to_state="RUNNING")
    of_scheduler = EventLog.objects.filter(scheduler_id=batch.scheduler_id, from_state="RUNNING")
    told["events of the batch job"] = [of_batch.count(), of_scheduler.count()]
    told["delete"] = refused(outward.delete)
    told["query update"] = refused(lambda: items.update(state="done"))
    return told


def events() -> Told:
    now = datetime.utcnow()
    job = Job.objects.get(workdir__contains="results/0")
    mine = EventLog.objects.filter(job_id=job.id)
    count = mine.count()
    return {
        "newest first": [f"{e.from_state} -> {e.to_state}" for e in mine],
        "oldest first": [e.to_state for e in mine.order_by("timestamp")],
        "ordered": [e.to_state for e in mine.order_by("-timestamp")][:1],
        "slice": [e.to_state for e in mine[1:3]],
        "by tags": EventLog.objects.filter(tags={"exp": "results"}, to_state="JOB_FINISHED").count(),
        "by data": EventLog.objects.filter(data={"message": "by hand"}).count(),
        "by old state": EventLog.objects.filter(job_id=job.id, from_state="RUNNING").count(),
        "by several": EventLog.objects.filter(job_id=[job.id, job.id + 1]).count() > count,
        "by window": EventLog.objects.filter(
            job_id=job.id, timestamp_after=now - HOUR, timestamp_before=now + HOUR
        ).count()
        == count,
        "later": EventLog.objects.filter(timestamp_after=now + HOUR).count(),
        "by batch job": EventLog.objects.filter(batch_job_id=10**6).count(),
        "by scheduler": EventLog.objects.filter(scheduler_id=10**6).count(),
        "by id": EventLog.objects.get(id=mine[0].id).to_state,
        "first": EventLog.objects.filter(job_id=job.id).first().to_state,
        "time": plain(mine[0].timestamp),
        "unknown state": refused(lambda: EventLog.objects.filter(to_state="NOPE").count()),
    }


def reports() -> Told:
    query = EventLog.objects.filter(tags={"exp": "results"})
    times, done = analytics.throughput_report(query, to_state="JOB_FINISHED")
    _, counts = analytics.utilization_report(query, node_weighting=False)
    starts, nodes = analytics.available_nodes(BatchJob.objects.all())
    empty = analytics.throughput_report(EventLog.objects.filter(tags={"exp": "none"}))
    return {
        "throughput": [plain(times), done],
        "utilization": counts,
        "available": [plain(starts), nodes],
        "empty": plain(empty),
    }


SECTIONS = (sites, apps, jobs, results, batch_jobs, sessions, transfers, events, reports)


def main() -> None:
    told: dict[str, Any] = {}
    for section in SECTIONS:
        if os.environ.get("SURFACE_TRACE"):
            print(section.__name__, file=sys.stderr)
        told[section.__name__] = section()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
