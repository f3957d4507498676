"""What a run leaves in its process that would harm the runs after it."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

MEMORY_BYTES = 512 << 20  # grown beyond what the process had after its first run
FILES = 100
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Leftovers:
    """`find` after each run tells why the process should serve no other; "" as long as it may."""

    def __init__(self) -> None:
        self._memory: int | None = None
        self._peak_kb = 0  # at the last look at the memory, which takes longer than the rest

    def find(self) -> str:
        if _has_children():
            return "processes"
        if threading.active_count() > 1:
            return f"{threading.active_count() - 1} threads"
        return f"about {FILES} open files" if _is_open(FILES) else self._memory_leak()

    def _memory_leak(self) -> str:
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if peak_kb == self._peak_kb:
            return ""
        self._peak_kb, memory = peak_kb, _resident_bytes()
        if self._memory is None:
            self._memory = memory  # what it has imported stays, and is no leak
        grown = memory - self._memory
        return f"{grown >> 20} MB of memory" if grown > MEMORY_BYTES else ""


def _has_children() -> bool:
    """Whether there are any that live; those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _is_open(number: int) -> bool:
    """Whether there is a file of that number; the lowest ones are taken first, so nobody has to count."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
