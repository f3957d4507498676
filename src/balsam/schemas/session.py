"""The name under which scripts for Balsam 0.7 import `balsam.schemas.sessions`."""

from balsam.core.states import JobState
from balsam.schemas.sessions import PaginatedSessionsOut, SessionAcquire, SessionCreate, SessionOut

__all__ = ["JobState", "PaginatedSessionsOut", "SessionAcquire", "SessionCreate", "SessionOut"]
