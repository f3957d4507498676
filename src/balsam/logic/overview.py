"""What a live view shows: sites with their agents' health, allocations, jobs, rates and failures of late."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection

from balsam.core.states import ACTIVE_BATCH_JOB_STATES, JobState
from balsam.logic.failures import tail_of
from balsam.logic.places import Places, minutes_left
from balsam.logic.reasons import Agent
from balsam.logic.signature import signature_of
from balsam.store import batch_jobs, overview, sites
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.sites import SiteFilter

RATE_SEC = 60
FAILURES_SEC = 3600
MAX_FAILURES = 500
MAX_ALLOCATIONS = 500
MAX_SITES = 1_000
Row = dict[str, Any]


def look(conn: Connection, owner: Owner) -> Row:
    """As it travels: see `schemas.overview`."""
    places = Places(conn, owner)
    rows = sites.page(conn, owner, SiteFilter(), Page(limit=MAX_SITES))
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for site_id, state, number in overview.jobs_by_group(conn, owner, JobFilter(), "site_id"):
        counts[int(site_id or 0)][state] = number
    moves = {
        (site_id, state): number
        for site_id, state, number in overview.moves_since(conn, owner, places.now - RATE_SEC * 1_000_000)
    }
    failed = overview.newest_failures(conn, owner, places.now - FAILURES_SEC * 1_000_000, MAX_FAILURES)
    return {
        "sites": [_site(places, row, counts[row["id"]], moves) for row in rows],
        "allocations": _allocations(places),
        "failures": _causes(failed),
        "failure_window_sec": FAILURES_SEC,
        "failures_read": len(failed),
    }


def _site(places: Places, row: Row, counts: dict[str, int], moves: dict[tuple[int, str], int]) -> Row:
    agent = places.agent(row["id"])
    per_min = 60 / RATE_SEC
    return {
        "id": row["id"],
        "name": row["name"],
        "path": row["path"],
        "agent_alive": agent.alive,
        "health": _health(agent, places.notes(row["id"]), places.now),
        "jobs_by_state": counts,
        "started_per_min": moves.get((row["id"], JobState.running), 0) * per_min,
        "finished_per_min": moves.get((row["id"], JobState.job_finished), 0) * per_min,
        "failed_per_min": moves.get((row["id"], JobState.failed), 0) * per_min,
    }


def _health(agent: Agent, notes: list[str], now: int) -> str:
    return "; ".join(["the agent works" if agent.alive else agent.absence(now), *notes])


def _allocations(places: Places) -> list[Row]:
    chosen = BatchJobFilter(state=list(ACTIVE_BATCH_JOB_STATES))
    rows = batch_jobs.page(places.conn, places.owner, chosen, Page(limit=MAX_ALLOCATIONS))
    names = ("id", "site_id", "state", "num_nodes", "queue", "project", "job_mode", "scheduler_id")
    return [
        {**{name: row[name] for name in names}, "minutes_left": minutes_left(row, places.now)} for row in rows
    ]


def _causes(failed: list[Row]) -> list[Row]:
    """Newest first within each cause; the most frequent cause first."""
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in failed:
        groups[row["site_id"], _signature(row)].append(row)
    causes = [
        {
            "site_id": site_id,
            "signature": signature,
            "count": len(rows),
            "newest_job_id": rows[0]["job_id"],
            "last_us": rows[0]["timestamp"],
            "tail": tail_of(rows[0]["data"]),
        }
        for (site_id, signature), rows in groups.items()
    ]
    return sorted(causes, key=lambda cause: (-cause["count"], -cause["last_us"]))


def _signature(row: Row) -> str:
    data = row["data"] if isinstance(row["data"], dict) else {}
    code = data.get("returncode")
    return signature_of({**data, "error": tail_of(data)}, code if type(code) is int else None)
