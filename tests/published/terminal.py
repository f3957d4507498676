"""Answers a program that asks on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path

ESCAPES = re.compile(rb"\x1b[\[(][0-9;?]*[A-Za-z]|\x1b[78]")
DOWN, ENTER = b"\x1b[B", b"\r"
QUIET_SEC = 0.2  # a menu that has not been redrawn for so long waits for a key


def choose(
    command: list[str], entry: bytes, environment: Mapping[str, str], cwd: Path, timeout: float = 60
) -> str:
    """Runs a command that shows a menu, and chooses the entry that begins so; what it printed."""
    pid, screen = pty.fork()
    if pid == 0:  # the child
        os.chdir(cwd)
        os.execvpe(command[0], command, {**environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"})
    shown = seen = b""
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            if select.select([screen], [], [], QUIET_SEC)[0]:
                part = _read(screen)
                if not part:
                    return shown.decode(errors="replace")
                shown += part
            elif marked := re.findall(rb"> ([^\r\n]*)", ESCAPES.sub(b"", shown[len(seen) :])):
                seen = shown
                os.write(screen, ENTER if marked[-1].startswith(entry) else DOWN)
        os.kill(pid, signal.SIGKILL)
        raise TimeoutError(f"{command} still waits after {timeout} s: {shown[-2000:]!r}")
    finally:
        os.waitpid(pid, 0)
        os.close(screen)


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # how Linux tells that the child has closed the terminal
        return b""
