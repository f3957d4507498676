"""One launcher for each part of a BatchJob: two in one allocation would both count its nodes as theirs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path


class LauncherRuns(Exception):
    """Another launcher of the same part of the same BatchJob works; the sentence says where."""


def take(folder: Path, batch_job_id: int, partition: int) -> int | None:
    """Holds the part until this process ends; raises LauncherRuns. None where files can't be locked."""
    path = folder / f"launcher-{batch_job_id}-{partition}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "an unknown place"
        os.close(descriptor)
        raise LauncherRuns(
            f"a launcher of BatchJob {batch_job_id}{f', part {partition}' if partition else ''} works "
            f"already: {holder}. One launcher uses all nodes of its allocation: start it once, and not "
            "through mpirun or srun"
        ) from None
    except OSError:
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # on a full disk it is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"host {socket.gethostname()}, process {os.getpid()}\n".encode(), 0)
    return descriptor
