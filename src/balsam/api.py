"""What user code imports. Importing it reads no file and asks no server.

from balsam.api import ApplicationDefinition, BatchJob, Job, Site
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.core.states import JobMode, JobState, TransferDirection
from balsam.schemas import AppParameter, BatchJobPartition, JobTransferItem, TransferSlot
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.apps import App
from balsam.sdk.batch_jobs import BatchJob
from balsam.sdk.events import EventLog
from balsam.sdk.jobs import Job
from balsam.sdk.sessions import Session
from balsam.sdk.sites import Site
from balsam.sdk.transfers import TransferItem

if TYPE_CHECKING:
    from balsam.config import ClientSettings as ClientSettings
    from balsam.config import SiteConfig as SiteConfig
    from balsam.sdk.api_client import ApiClient

    client: ApiClient
    site_config: SiteConfig | None

__all__ = [
    "App",
    "AppParameter",
    "ApplicationDefinition",
    "BatchJob",
    "BatchJobPartition",
    "EventLog",
    "Job",
    "JobMode",
    "JobState",
    "JobTransferItem",
    "Session",
    "Site",
    "TransferDirection",
    "TransferItem",
    "TransferSlot",
    "site_config",
]


if not TYPE_CHECKING:  # the names above tell a type checker what there is

    def __getattr__(name: str) -> Any:
        """Made when first asked for: they read files, and most scripts need none of them."""
        if name == "client":
            from balsam.sdk.context import default_client

            return default_client()
        if name in ("ClientSettings", "SiteConfig"):
            from balsam import config

            return getattr(config, name)
        if name == "site_config":
            from balsam.config import current_site_config

            return current_site_config()
        if name == "_APIApp":  # as published
            return App
        raise AttributeError(f"module 'balsam.api' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """What users may rely on, and nothing that this module imports for itself."""
        return sorted({*__all__, "ClientSettings", "SiteConfig", "client"})
