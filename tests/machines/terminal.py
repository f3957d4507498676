"""A program that runs in a terminal of its own, for those that insist on one."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Terminal:
    """Runs a program; `text` is what it has shown. Killed at the end of the block."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = dict(environment)
        self._shown = b""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        os.close(self._ours)

    @property
    def text(self) -> str:
        return self._shown.decode(errors="replace")

    def _read(self) -> None:
        # Reading fails where the program has ended and nobody else has the terminal open.
        with contextlib.suppress(OSError):
            while read := os.read(self._ours, 65_536):
                self._shown += read
