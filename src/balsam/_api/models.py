"""Models, their managers and queries."""

from balsam.sdk.apps import App, AppManager, AppQuery
from balsam.sdk.batch_jobs import BatchJob, BatchJobManager, BatchJobQuery
from balsam.sdk.events import EventLog, EventLogManager, EventLogQuery
from balsam.sdk.jobs import Job, JobManager, JobQuery
from balsam.sdk.query import Query
from balsam.sdk.sessions import Session, SessionManager, SessionQuery
from balsam.sdk.sites import Site, SiteManager, SiteQuery
from balsam.sdk.transfers import TransferItem, TransferItemManager, TransferItemQuery

__all__ = [
    "App",
    "AppManager",
    "AppQuery",
    "BatchJob",
    "BatchJobManager",
    "BatchJobQuery",
    "EventLog",
    "EventLogManager",
    "EventLogQuery",
    "Job",
    "JobManager",
    "JobQuery",
    "Query",
    "Session",
    "SessionManager",
    "SessionQuery",
    "Site",
    "SiteManager",
    "SiteQuery",
    "TransferItem",
    "TransferItemManager",
    "TransferItemQuery",
]
