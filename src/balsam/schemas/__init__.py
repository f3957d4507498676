"""What travels over HTTP, one file per noun; the names that users import are gathered here."""

from balsam.core.limits import MAX_ITEMS_PER_BULK_OP, MAX_JOBS_PER_SESSION_ACQUIRE
from balsam.core.limits import MAX_PAGE as MAX_PAGE_SIZE
from balsam.core.states import (
    DONE_STATES,
    RUNNABLE_STATES,
    BatchJobState,
    JobMode,
    JobState,
    TransferDirection,
    TransferItemState,
)
from balsam.schemas.apps import (
    AppCreate,
    AppOut,
    AppParameter,
    AppUpdate,
    ClassSerializer,
    PaginatedAppsOut,
    SerializerInfo,
    TransferSlot,
)
from balsam.schemas.batch_jobs import (
    BatchJobBulkUpdate,
    BatchJobCreate,
    BatchJobOrdering,
    BatchJobOut,
    BatchJobPartition,
    BatchJobUpdate,
    PaginatedBatchJobOut,
)
from balsam.schemas.events import (
    EventOrdering,
    LogEventOut,
    PaginatedLogEventOut,
)
from balsam.schemas.jobs import (
    JobBulkUpdate,
    JobCreate,
    JobOrdering,
    JobOut,
    JobTransferItem,
    JobUpdate,
    PaginatedJobsOut,
)
from balsam.schemas.payloads import (
    DeserializeError,
    EmptyPayload,
    SerializeError,
    deserialize,
    get_source,
    raise_from_serialized,
    serialize,
    serialize_exception,
)
from balsam.schemas.sessions import (
    PaginatedSessionsOut,
    SessionAcquire,
    SessionCreate,
    SessionOut,
)
from balsam.schemas.sites import (
    AllowedQueue,
    PaginatedSitesOut,
    SchedulerBackfillWindow,
    SchedulerJobLog,
    SchedulerJobStatus,
    SiteCreate,
    SiteOut,
    SiteUpdate,
)
from balsam.schemas.transfers import (
    PaginatedTransferItemOut,
    TransferItemBulkUpdate,
    TransferItemOut,
    TransferItemUpdate,
)
from balsam.schemas.users import (
    UserCreate,
    UserOut,
)

ServerJobCreate = JobCreate

__all__ = [
    "DONE_STATES",
    "MAX_ITEMS_PER_BULK_OP",
    "MAX_JOBS_PER_SESSION_ACQUIRE",
    "MAX_PAGE_SIZE",
    "RUNNABLE_STATES",
    "AllowedQueue",
    "AppCreate",
    "AppOut",
    "AppParameter",
    "AppUpdate",
    "BatchJobBulkUpdate",
    "BatchJobCreate",
    "BatchJobOrdering",
    "BatchJobOut",
    "BatchJobPartition",
    "BatchJobState",
    "BatchJobUpdate",
    "ClassSerializer",
    "DeserializeError",
    "EmptyPayload",
    "EventOrdering",
    "JobBulkUpdate",
    "JobCreate",
    "JobMode",
    "JobOrdering",
    "JobOut",
    "JobState",
    "JobTransferItem",
    "JobUpdate",
    "LogEventOut",
    "PaginatedAppsOut",
    "PaginatedBatchJobOut",
    "PaginatedJobsOut",
    "PaginatedLogEventOut",
    "PaginatedSessionsOut",
    "PaginatedSitesOut",
    "PaginatedTransferItemOut",
    "SchedulerBackfillWindow",
    "SchedulerJobLog",
    "SchedulerJobStatus",
    "SerializeError",
    "SerializerInfo",
    "ServerJobCreate",
    "SessionAcquire",
    "SessionCreate",
    "SessionOut",
    "SiteCreate",
    "SiteOut",
    "SiteUpdate",
    "TransferDirection",
    "TransferItemBulkUpdate",
    "TransferItemOut",
    "TransferItemState",
    "TransferItemUpdate",
    "TransferSlot",
    "UserCreate",
    "UserOut",
    "deserialize",
    "get_source",
    "raise_from_serialized",
    "serialize",
    "serialize_exception",
]
