"""What tells this machine, since its last start, and its processes from all others."""

from __future__ import annotations

import uuid

import psutil

from balsam.platform.schedulers import local_wrapper


def boot_id() -> str:
    """Another one after each start of the machine, and on each machine."""
    return local_wrapper.boot_id() or f"{uuid.getnode():x}-{psutil.boot_time():.0f}"


def process_of(pid: int) -> str | None:
    """Text that no other process ever has; None if there is no such process."""
    if local_wrapper.boot_id():
        return local_wrapper.identity(pid)
    try:
        process = psutil.Process(pid)
        return (
            None if process.status() == psutil.STATUS_ZOMBIE else f"{boot_id()}:{process.create_time():.2f}"
        )
    except psutil.Error:
        return None


def is_of_this_start(process: str) -> bool:
    """Whether a process with this text ran on this machine, since its last start."""
    return process.startswith(f"{boot_id()}:")
