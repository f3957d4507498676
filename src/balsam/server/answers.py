"""Rows of the database as the records that travel; plain dicts, since validating them again costs most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

from balsam.core.clock import naive_text, now_us, offset_text
from balsam.logic import site_agents

Row = dict[str, Any]


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def no_content() -> Response:
    return Response(status_code=204)


def listing(
    rows: Iterable[Row],
    out: Callable[[Row], Row],
    count: int | None,
    following: str | None,
    count_limit: int | None = None,
) -> Response:
    """`count_limit`: what the count was bounded by; a count above it stands for any more."""
    results = [out(row) for row in rows]
    return json_answer({**counted(count, count_limit), "results": results, "next": following})


def counted(count: int | None, limit: int | None = None) -> Row:
    """What a list says of its count."""
    if count is None or limit is None:
        return {"count": count}
    return {"count": min(count, limit), "count_is_exact": count <= limit}


_SITE = (
    "id",
    "name",
    "path",
    "globus_endpoint_id",
    "backfill_windows",
    "queued_jobs",
    "optional_batch_job_params",
    "allowed_projects",
    "allowed_queues",
    "transfer_locations",
    "nodes",
    "moves_files",
)
_APP = (
    "id",
    "site_id",
    "name",
    "serialized_class",
    "source_code",
    "description",
    "parameters",
    "transfers",
    "hooks",
    "isolate",
    "serializer",
    "version",
    "digest",
)
_JOB = (
    "id",
    "workdir",
    "tags",
    "app_id",
    "site_id",
    "session_id",
    "serialized_parameters",
    "serialized_return_value",
    "serialized_exception",
    "batch_job_id",
    "state",
    "data",
    "return_code",
    "pending_file_cleanup",
    "parent_ids",
    "num_nodes",
    "ranks_per_node",
    "threads_per_rank",
    "threads_per_core",
    "gpus_per_rank",
    "node_packing_count",
    "wall_time_min",
    "launch_params",
    "priority",
    "parents_must",
    "max_restarts",
    "mem_mb_per_rank",
    "parameters_json",
    "serializer",
    "num_runs",
)
JOB_COLUMNS = (*_JOB, "last_update")
EVENT_COLUMNS = ("id", "job_id", "timestamp", "from_state", "to_state", "data", "batch_job_id")
_BATCH_JOB = (
    "id",
    "site_id",
    "num_nodes",
    "wall_time_min",
    "job_mode",
    "optional_params",
    "filter_tags",
    "partitions",
    "scheduler_id",
    "scheduler_id_text",
    "project",
    "queue",
    "state",
    "status_info",
    "cause",
)
_TRANSFER = (
    "id",
    "job_id",
    "direction",
    "local_path",
    "remote_path",
    "location_alias",
    "recursive",
    "state",
    "task_id",
    "transfer_info",
)


def site(row: Row) -> Row:
    out = {name: row[name] for name in _SITE}
    out["last_refresh"] = naive_text(row["last_refresh"])
    out["creation_date"] = naive_text(row["creation_date"])
    out["agent"] = None if row["agent"] is None else _agent(row["agent"])
    return out


def _agent(record: Row) -> Row:
    refused: Row | None = record["refused"]
    return {
        **{name: record[name] for name in ("host", "path", "pid")},
        "state": site_agents.state_of(record, now_us()),
        "since": naive_text(record["since"]),
        "seen": naive_text(record["ended"] or record["seen"]),
        "clock_ahead_us": record.get("clock_ahead_us"),
        "trouble": record.get("trouble"),
        "refused": refused and {**refused, "at": naive_text(refused["at"])},
    }


def app(row: Row) -> Row:
    return {name: row[name] for name in _APP}


def app_version(row: Row, changed: list[str] | None, restores: int | None) -> Row:
    created = None if row["created"] is None else naive_text(row["created"])
    told = {name: row[name] for name in ("number", "digest", "synced_by", "source_code")}
    return {**told, "created": created, "changed": changed, "restores": restores}


def job(row: Row) -> Row:
    out = {name: row[name] for name in _JOB}
    out["last_update"] = offset_text(row["last_update"])
    return out


def held_job(row: Row, versions: Mapping[int, int]) -> Row:
    """The answer to who acquires it: with the version of its app, by app."""
    return {**job(row), "app_version": versions[row["app_id"]]}


def new_job(row: Row) -> Row:
    """The answer of POST /jobs/, whose `last_update` is naive as published."""
    return {**job(row), "last_update": naive_text(row["last_update"])}


# What differs between new jobs, but for what their client sent.
_OF_EACH_NEW_JOB = ("id", "state", "site_id", "last_update")


def minimal_jobs(rows: Sequence[Row], defaults: Row) -> Row:
    """New jobs without what was sent: `each` holds columns, `all` what a job is of which nothing is said."""
    each = {name: [row[name] for row in rows] for name in _OF_EACH_NEW_JOB}
    text_of = {us: naive_text(us) for us in set(each["last_update"])}
    each["last_update"] = [text_of[us] for us in each["last_update"]]
    return {"all": {name: defaults[name] for name in defaults if name not in each}, "each": each}


def batch_job(row: Row) -> Row:
    out = {name: row[name] for name in _BATCH_JOB}
    out["start_time"] = naive_text(row["start_time"])
    out["end_time"] = naive_text(row["end_time"])
    return out


def session(row: Row, lease_sec: float) -> Row:
    return {
        "id": row["id"],
        "site_id": row["site_id"],
        "batch_job_id": row["batch_job_id"],
        "heartbeat": naive_text(row["heartbeat"]),
        "fenced": row["fenced"],
        "partition": row["partition"],
        "num_nodes": row["num_nodes"],
        "started": naive_text(row["started"]),
        "ended": naive_text(row["ended"]),
        "lease_sec": lease_sec,
        "ending": row["ending"],
    }


def transfer(row: Row) -> Row:
    return {name: row[name] for name in _TRANSFER}


def event(row: Row) -> Row:
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "timestamp": naive_text(row["timestamp"]),
        "from_state": row["from_state"],
        "to_state": row["to_state"],
        "data": row["data"],
        "batch_job_id": row["batch_job_id"],
    }


def streamed_event(row: Row) -> Row:
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "site_id": row["site_id"],
        "from_state": row["from_state"],
        "to_state": row["to_state"],
        "timestamp_us": row["timestamp"],
        "batch_job_id": row["batch_job_id"],
        "data": row["data"],
    }


def message(row: Row) -> Row:
    return {name: row[name] for name in ("id", "kind", "job_id", "body")}
