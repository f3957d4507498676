"""Runs that failed, counted by what they have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection

from balsam.logic.analytics import in_order
from balsam.store import failed_jobs as store
from balsam.store import figures
from balsam.store.figures import Group
from balsam.store.scope import Scope

SIGNATURE, HOST = "signature", "host"
TAIL_CHARS = 2_000
JOBS_NAMED = 10
_OF_FAILED_JOBS = (
    "job_id",
    "workdir",
    "app",
    "site",
    "tags",
    "batch_job_id",
    "from_state",
    "attempts",
    "return_code",
)


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    jobs: int
    first: int
    last: int
    newest: int  # id of the event with which the newest ended
    mended: int  # of the jobs those that have finished since


def failures(conn: Connection, scope: Scope, by: str) -> list[dict[str, Any]]:
    """The most frequent first. `by`: `signature`, `host`, or a name of `store.groups`.

    A run of several nodes counts for each of its hosts. `jobs`: how many failed so, each once for each
    signature; None by host. `mended`: how many of these have finished since. `job_ids`: of a signature, the
    newest of its jobs.
    """
    others = None if by == SIGNATURE else by
    found: dict[Group, dict[str, _Failures]] = {}
    for group, signature, *told in figures.failed_runs(conn, scope, others):
        for name in _names(by, group, signature):
            one, before = _Failures(*told), found.setdefault(name, {}).get(signature)
            found[name][signature] = one if before is None else _together(one, before)
    runs = _runs(conn, scope, by)
    newest = {name: max(one.newest for one in by_sign.values()) for name, by_sign in found.items()}
    data = figures.event_data(conn, scope, list(newest.values()))
    named = figures.jobs_of_failures(conn, scope, JOBS_NAMED) if by == SIGNATURE else {}
    rows = [
        {**_row(by, name, found[name], runs, *data[newest[name]]), "job_ids": named.get(str(name), [])}
        for name in in_order(found)
    ]
    return sorted(rows, key=lambda row: -row["failures"])


def _runs(conn: Connection, scope: Scope, by: str) -> dict[Group, int]:
    """How many runs ended in each group; none by signature, which only failures have."""
    runs: dict[Group, int] = {}
    if by != SIGNATURE:
        for group, number in figures.ended_runs(conn, scope, by).items():
            for name in _names(by, group, ""):
                runs[name] = runs.get(name, 0) + number
    return runs


def _names(by: str, group: Group, signature: str) -> list[Group]:
    if by == SIGNATURE:
        return [signature]
    if by != HOST:
        return [group]
    return list(dict.fromkeys(orjson.loads(str(group)))) or [None]


def _together(one: _Failures, other: _Failures) -> _Failures:
    return replace(
        one,
        count=one.count + other.count,
        jobs=one.jobs + other.jobs,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
        newest=max(one.newest, other.newest),
        mended=one.mended + other.mended,
    )


def _row(
    by: str, group: Group, by_signature: dict[str, _Failures], runs: dict[Group, int], job_id: int, data: Any
) -> dict[str, Any]:
    each = list(by_signature.values())
    count = sum(one.count for one in each)
    return {
        "group": group,
        "failures": count,
        "jobs": None if by == HOST else sum(one.jobs for one in each),
        "mended": None if by == HOST else sum(one.mended for one in each),
        "runs": runs.get(group),
        "failed_fraction": count / runs[group] if runs.get(group) else None,
        "signatures": {
            signature: one.count
            for signature, one in sorted(by_signature.items(), key=lambda item: (-item[1].count, item[0]))
        },
        "first_us": min(one.first for one in each),
        "last_us": max(one.last for one in each),
        "newest_job_id": job_id,
        "newest_tail": tail_of(data),
    }


def failed_jobs(conn: Connection, scope: Scope, limit: int) -> list[dict[str, Any]]:
    """The newest jobs that failed for good in the window: in which state, and what is said of it."""
    return [
        {
            **{name: row[name] for name in _OF_FAILED_JOBS},
            "failed_us": row["timestamp"],
            "nodes": row["nodes"] or [],
            # Where a hook chose FAILED and did not say why, it was for what the run said.
            "tail": tail_of(row["data"]) or tail_of(row["run_data"]),
        }
        for row in store.failed_jobs(conn, scope, limit)
    ]


def tail_of(data: Any) -> str:
    """What an end event says of the output's end."""
    told = data.get("error", data.get("message", "")) if isinstance(data, dict) else ""
    return str(told)[-TAIL_CHARS:]
