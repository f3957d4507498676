"""The name under which scripts for Balsam 0.7 import `balsam.config`."""

from typing import Any

from balsam import config
from balsam.config import ClientSettings, SiteConfig, balsam_home

__all__ = ["ClientSettings", "SiteConfig", "balsam_home"]


def __getattr__(name: str) -> Any:
    if name in ("InvalidSettings", "Settings"):
        return getattr(config, name)  # loaded on use, as there
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
