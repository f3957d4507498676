"""The name under which scripts for Balsam 0.7 import `balsam.cli.main`."""

from balsam.cli.main import main

__all__ = ["main"]
