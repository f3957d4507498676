"""The name under which scripts for Balsam 0.7 import `balsam.schemas.jobs`."""

from balsam.core.states import JobState
from balsam.schemas.jobs import (
    JobBulkUpdate,
    JobCreate,
    JobOrdering,
    JobOut,
    JobTransferItem,
    JobUpdate,
    PaginatedJobsOut,
)
from balsam.schemas.payloads import serialize

ServerJobCreate = JobCreate

__all__ = [
    "JobBulkUpdate",
    "JobCreate",
    "JobOrdering",
    "JobOut",
    "JobState",
    "JobTransferItem",
    "JobUpdate",
    "PaginatedJobsOut",
    "ServerJobCreate",
    "serialize",
]
