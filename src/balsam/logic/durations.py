"""How long jobs stay in each state, and how long runs wait for their start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from balsam.core.states import JobState
from balsam.logic.analytics import in_order
from balsam.logic.quantiles import durations
from balsam.store import figures
from balsam.store.scope import Scope

_PLACE = {state.value: place for place, state in enumerate(JobState)}


def state_times(conn: Connection, scope: Scope, by: str | None) -> list[dict[str, Any]]:
    """Rows by group and state, in the order of a job's life; each stay of each attempt counts by itself."""
    found = figures.stays(conn, scope, by)
    return [
        {"group": group, "state": state, **asdict(told)}
        for group in in_order({group for group, _ in found})
        for state in sorted({state for key, state in found if key == group}, key=_place)
        if (told := durations(found[group, state])) is not None
    ]


def _place(state: str) -> int:
    return _PLACE.get(state, len(_PLACE))


def run_delays(conn: Connection, scope: Scope, by: str | None) -> list[dict[str, Any]]:
    """A row by group: from when a job became runnable to the start of its run."""
    found = figures.delays(conn, scope, by)
    return [
        {"group": group, **asdict(told)}
        for group in in_order(found)
        if (told := durations(found[group])) is not None
    ]
