"""Totals that outlive the jobs that they count."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from balsam.schemas.types import Wire


class TotalKey(StrEnum):
    """What totals are told apart by; `day` is that of the event, or of the run's or the job's end."""

    site_id = "site_id"
    app_id = "app_id"
    day = "day"
    state = "state"


class TotalOut(Wire):
    """`jobs` ended in the state, `events` entered it, and `runs` ended with it after `node_hours`.

    Keys that were not asked for are None, and stand for all.
    """

    site_id: int | None = None
    app_id: int | None = None
    day: date | None = None
    state: str | None = None
    jobs: int
    events: int
    runs: int
    node_hours: float
