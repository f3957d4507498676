"""Groups of jobs beside each other: throughput, utilization, node-hours, times in states, failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from balsam.core.clock import to_us
from balsam.core.errors import Invalid
from balsam.logic import durations, efficiency
from balsam.logic import failures as failure_logic
from balsam.schemas.types import UtcTime, Wire
from balsam.server.context import Srv
from balsam.server.dashboard import pages
from balsam.server.dashboard.choice import Choice
from balsam.server.dashboard.jobs import filters
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Looking
from balsam.store.scope import Scope

router = APIRouter(route_class=PageRoute, include_in_schema=False)
GROUPS = {
    "app": "app",
    "site": "site",
    "queue": "queue",
    "project": "project",
    "batch_job": "BatchJob",
    "num_nodes": "nodes of a run",
    "attempt": "attempt",
}
MAX_GROUPS = 100


class WindowQuery(Wire):
    timestamp_after: UtcTime | None = None
    timestamp_before: UtcTime | None = None


@router.get("/ui/analytics")
def analytics_page(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(
        request,
        server,
        visitor,
        "analytics",
        {"hours": hours, "delays": delays, "failures": failures},
        frame=filters,
        lazy=frozenset({"hours", "delays", "failures"}),
        choice=Choice.shown(request.query_params),
        window=_window(request.query_params),
        by=_by(request.query_params),
        tag=_tag(request.query_params),
        groups=GROUPS,
    )


def _by(query: Any) -> str:
    """What is grouped by: one of GROUPS or a tag."""
    by = str(query.get("by", ""))
    if by == "tag":
        return f"tag:{_tag(query)}" if _tag(query) else "app"
    return by if by in GROUPS else "app"


def _tag(query: Any) -> str:
    return str(query.get("tag", "")).strip()


def _window(query: Any) -> WindowQuery:
    names = WindowQuery.model_fields
    return WindowQuery.model_validate({name: query[name] for name in names if query.get(name)})


def _scope(look: Look) -> Scope:
    window = _window(look.query)
    after, before = (
        None if m is None else to_us(m) for m in (window.timestamp_after, window.timestamp_before)
    )
    if after is not None and before is not None and before <= after:
        raise Invalid("the window ends before it begins")
    chosen = Choice.shown(look.query).selection.filter()
    return Scope.of(look.conn, look.owner, chosen, after, before, now=look.now)


def hours(look: Look) -> dict[str, Any]:
    rows = efficiency.node_hours(look.conn, _scope(look), _by(look.query))
    shown = _most(rows, lambda row: row["busy"] + row["idle"])
    return {"hours": shown, "left_out": len(rows) - len(shown)}


def _most(rows: list[dict[str, Any]], amount: Callable[[dict[str, Any]], float]) -> list[dict[str, Any]]:
    """All in their order, or if they are too many for a page those with the most."""
    return rows if len(rows) <= MAX_GROUPS else sorted(rows, key=amount, reverse=True)[:MAX_GROUPS]


def delays(look: Look) -> dict[str, Any]:
    scope, by = _scope(look), _by(look.query)
    waits, runs = durations.run_delays(look.conn, scope, by), efficiency.scaling(look.conn, scope, by)
    shown = _most(runs, lambda row: row["runs"])
    return {
        "delays": _most(waits, lambda row: row["count"]),
        "delays_left_out": max(0, len(waits) - MAX_GROUPS),
        "scaling": shown,
        "scaling_left_out": len(runs) - len(shown),
        "compares": any(row["efficiency"] is not None for row in runs),
    }


def failures(look: Look) -> dict[str, Any]:
    rows = failure_logic.failures(look.conn, _scope(look), _by(look.query))
    return {"failures": rows[:MAX_GROUPS], "left_out": max(0, len(rows) - MAX_GROUPS)}
