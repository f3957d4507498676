"""What is happening now, on one page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from balsam.core.states import ACTIVE_BATCH_JOB_STATES, JobState
from balsam.logic import batch_job_why, efficiency, failures
from balsam.logic.other_failures import other_failures
from balsam.logic.places import Places, minutes_left
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store import batch_jobs, event_lists, jobs, names, nodes, sites
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.paging import Page
from balsam.store.scope import Scope
from balsam.store.sites import SiteFilter

router = APIRouter(route_class=PageRoute, include_in_schema=False)
EVENTS, ALLOCATIONS, CAUSES = 14, 12, 8
IDS_IN_A_LINK = 100
DAY_US = 86_400_000_000
ORDER = [state.value for state in JobState]


@router.get("/ui/")
def overview(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(request, server, visitor, "overview", PARTS, lazy=frozenset({"progress", "failures"}))


def site_health(look: Look) -> dict[str, Any]:
    """Each site with whether its agent lives and what it has running."""
    facts = Places(look.conn, look.owner)
    rows = sites.page(look.conn, look.owner, SiteFilter(), Page(limit=names.MAX_LISTED))
    active = _active(look, names.MAX_LISTED)
    return {
        "sites": [
            {
                "row": row,
                "agent": facts.agent(row["id"]),
                "absence": facts.agent(row["id"]).absence(facts.now),
                "nodes": sum(
                    one["num_nodes"]
                    for one in active
                    if one["site_id"] == row["id"] and one["state"] == "running"
                ),
                "waiting": sum(
                    one["site_id"] == row["id"] and one["state"] in ("queued", "pending_submission")
                    for one in active
                ),
            }
            for row in rows
        ]
    }


def _active(look: Look, limit: int) -> list[dict[str, Any]]:
    f = BatchJobFilter(state=list(ACTIVE_BATCH_JOB_STATES))
    return batch_jobs.page(look.conn, look.owner, f, Page(limit=limit, order="-id"))


def states(look: Look) -> dict[str, Any]:
    counts = jobs.count_by_state(look.conn, look.owner, JobFilter())
    ordered = sorted(counts, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    total = sum(counts.values())
    shares = [(name, counts[name], counts[name] / total) for name in ordered]
    return {"states": shares, "total": total, "nodes": nodes.now(look.conn, look.owner)}


def progress(look: Look) -> dict[str, Any]:
    """What is left, and when it will be done at the rate of the last hour."""
    return {"backlog": next(iter(efficiency.backlog(look.conn, _recent(look), None)), None)}


def _recent(look: Look) -> Scope:
    return Scope.of(look.conn, look.owner, JobFilter(), now=look.now)


def allocations(look: Look) -> dict[str, Any]:
    active = _active(look, names.MAX_LISTED)
    rows = active[:ALLOCATIONS]
    told = {one["batch_job_id"]: one for one in batch_job_why.why(look.conn, look.owner, rows)}
    return {
        "allocations": [
            {"row": row, "why": told[row["id"]]["sentence"], "left": minutes_left(row, look.now)}
            for row in rows
        ],
        "left_out": len(active) - len(rows),
        "site_names": names.of_sites(look.conn, look.owner),
    }


def causes(look: Look) -> dict[str, Any]:
    """Failures of the last day by what they have in common: of runs, and others."""
    others = other_failures(look.conn, look.owner, look.now - DAY_US)
    f = EventFilter(timestamp_after=look.now - DAY_US)
    scope = Scope.of(look.conn, look.owner, f, now=look.now)
    found = failures.failures(look.conn, scope, failures.SIGNATURE)
    return {
        "causes": found[:CAUSES],
        "more_causes": max(0, len(found) - CAUSES) + max(0, len(others) - CAUSES),
        "others": others[:CAUSES],
        "ids_in_a_link": IDS_IN_A_LINK,
    }


def newest_events(look: Look) -> dict[str, Any]:
    rows = event_lists.page(look.conn, look.owner, EventFilter(), Page(limit=EVENTS, order="-timestamp"))
    workdirs = {
        row["id"]: row["workdir"]
        for row in jobs.by_ids(look.conn, look.owner, {row["job_id"] for row in rows})
    }
    return {"events": [{**row, "workdir": workdirs.get(row["job_id"], "")} for row in rows]}


PARTS = {
    "sites": site_health,
    "states": states,
    "progress": progress,
    "allocations": allocations,
    "failures": causes,
    "events": newest_events,
}
