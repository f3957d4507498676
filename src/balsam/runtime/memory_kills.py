"""Whether the kernel has killed for want of memory: its own count, of this control group or of the host."""

from __future__ import annotations

import contextlib
import time
from functools import cache
from pathlib import Path

FRESH_SEC = 0.5  # a count that is younger need not be read again, where it only is to be compared later


@cache
def _source() -> Path:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            events = Path("/sys/fs/cgroup" + path, "memory.events")
            if number == "0" and events.exists():
                return events
    return Path("/proc/vmstat")


class MemoryKills:
    """Counts kills; for one thread."""

    def __init__(self) -> None:
        self._count = 0
        self._read_at = -FRESH_SEC

    def before(self) -> int:
        """For a process that starts now."""
        if time.monotonic() - self._read_at >= FRESH_SEC:
            self.now()
        return self._count

    def now(self) -> int:
        self._read_at = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            self._count = count_in(_source().read_text())
        return self._count


def count_in(text: str) -> int:
    """From `memory.events` or `/proc/vmstat`."""
    for line in text.splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
