"""Processes whose clock is ahead of the others' or behind, through a library that is preloaded."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def shifted_clock(scratch: Path, ahead_sec: int, only_with: str | None = None) -> dict[str, str]:
    """The environment of such processes. `only_with`: of those alone that have this variable."""
    library = scratch / "shifted_clock.so"
    words = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(words, check=True, timeout=60)
    where = {"CLOCK_ONLY_WITH": only_with} if only_with else {}
    return {"LD_PRELOAD": str(library), "CLOCK_AHEAD_SEC": str(ahead_sec), **where}
