"""The name under which scripts for Balsam 0.7 import `balsam.schemas.events`."""

from balsam.schemas.events import EventOrdering, LogEventOut, PaginatedLogEventOut

__all__ = ["EventOrdering", "LogEventOut", "PaginatedLogEventOut"]
