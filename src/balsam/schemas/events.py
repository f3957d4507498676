"""Events: one row for each state transition of each job."""

from enum import StrEnum
from typing import Any

from balsam.schemas.types import Id, Wire


class EventOrdering(StrEnum):
    timestamp = "timestamp"
    timestamp_desc = "-timestamp"


class LogEventOut(Wire):
    id: Id
    job_id: int
    timestamp: str
    from_state: str
    to_state: str
    data: dict[str, Any]
    batch_job_id: int | None


class PaginatedLogEventOut(Wire):
    count: int | None
    results: list[LogEventOut]
