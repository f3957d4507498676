"""A row for each attempt, and bars of runs on nodes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from balsam.logic.failures import tail_of
from balsam.logic.timeline import Bar, by_node
from balsam.store import traces
from balsam.store.paging import next_cursor
from balsam.store.scope import Scope
from balsam.store.traces import SLOWEST, Attempts

_SAME = (
    "job_id",
    "attempt",
    "app_version",
    "workdir",
    "app",
    "site",
    "tags",
    "batch_job_id",
    "scheduler_id",
    "session_id",
    "nodes",
    "num_nodes",
    "cpus",
    "gpus",
    "end_state",
    "return_code",
    "signature",
)


def trace(conn: Connection, scope: Scope, wanted: Attempts) -> tuple[list[dict[str, Any]], str | None]:
    """A page of attempts, and the cursor of the next page if there may be one."""
    rows = traces.trace(conn, scope, wanted)
    following = None if wanted.order == SLOWEST else next_cursor(rows, wanted.page)
    return [_attempt(row) for row in rows], following


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    start, end, runnable = row["start"], row["end"], row["runnable"]
    return {
        "run_id": row["id"],
        **{name: row[name] for name in _SAME},
        "start_us": start,
        "end_us": end,
        "queue_sec": None if runnable is None else max(0, start - runnable) / 1e6,
        "run_sec": None if end is None else max(0, end - start) / 1e6,
        "tail": tail_of(row["end_data"]),
    }


def timeline(conn: Connection, scope: Scope, limit: int) -> list[dict[str, Any]]:
    """Each node with its bars, of the newest runs of the scope."""
    bars = [
        (nodes, Bar(start, end, run_id, job_id, app, end_state))
        for nodes, start, end, run_id, job_id, app, end_state in traces.bars(conn, scope, limit)
    ]
    return [{"node": node, "bars": [_bar(bar) for bar in some]} for node, some in by_node(bars).items()]


def _bar(bar: Bar) -> dict[str, Any]:
    told = asdict(bar)
    return {"start_us": told.pop("start"), "end_us": told.pop("end"), **told}
