"""The name under which scripts for Balsam 0.7 import `balsam.schemas.batch_jobs`."""

from balsam.core.states import BatchJobState, JobMode
from balsam.schemas.batch_jobs import (
    BatchJobBulkUpdate,
    BatchJobCreate,
    BatchJobOrdering,
    BatchJobOut,
    BatchJobPartition,
    BatchJobUpdate,
    PaginatedBatchJobOut,
)
from balsam.schemas.sites import SchedulerBackfillWindow, SchedulerJobLog, SchedulerJobStatus

__all__ = [
    "BatchJobBulkUpdate",
    "BatchJobCreate",
    "BatchJobOrdering",
    "BatchJobOut",
    "BatchJobPartition",
    "BatchJobState",
    "BatchJobUpdate",
    "JobMode",
    "PaginatedBatchJobOut",
    "SchedulerBackfillWindow",
    "SchedulerJobLog",
    "SchedulerJobStatus",
]
