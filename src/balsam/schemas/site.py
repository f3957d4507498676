"""The name under which scripts for Balsam 0.7 import `balsam.schemas.sites`."""

from balsam.schemas.sites import (
    AllowedQueue,
    PaginatedSitesOut,
    SchedulerBackfillWindow,
    SchedulerJobStatus,
    SiteCreate,
    SiteOut,
    SiteUpdate,
)

__all__ = [
    "AllowedQueue",
    "PaginatedSitesOut",
    "SchedulerBackfillWindow",
    "SchedulerJobStatus",
    "SiteCreate",
    "SiteOut",
    "SiteUpdate",
]
