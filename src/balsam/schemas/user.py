"""The name under which scripts for Balsam 0.7 import `balsam.schemas.users`."""

from balsam.schemas.users import UserCreate, UserOut

__all__ = ["UserCreate", "UserOut"]
