"""Balsam: define applications, queue runs, get nodes for them, and see how well the nodes were used."""

from typing import Any


def __getattr__(name: str) -> Any:
    """On use, since most programs ask for neither."""
    if name == "__version__":
        from importlib.metadata import version

        return version("balsam")
    if name == "config_root_logger":
        from balsam.util import config_root_logger

        return config_root_logger
    raise AttributeError(f"module 'balsam' has no attribute {name!r}")
