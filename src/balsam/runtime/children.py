"""Process groups of children: signalled as a whole."""

from __future__ import annotations

import contextlib
import os
import signal


def signal_group(pgid: int, number: signal.Signals) -> None:
    """To all of a group; a group that is gone is no error."""
    # EPERM: all of it are zombies, or it has just started and is not a group yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)
