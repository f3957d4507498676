"""A folder whose filesystem stalls or fails, for processes that are started with `environment`.

A library that is preloaded stands between them and the kernel: so it takes neither privileges nor devices.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build(folder: Path) -> Path:
    library = folder / "faulty_files.so"
    words = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(words, check=True, timeout=60)
    return library


class FaultyFiles:
    """`folder`: below which calls hang or fail. `scratch`: for the library and the flag."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._flag = scratch / "flag"
        self.environment = {
            "LD_PRELOAD": str(build(scratch)),
            "FAULTY_FOLDER": str(folder),
            "FAULTY_FLAG": str(self._flag),
        }

    @contextmanager
    def stall(self) -> Iterator[None]:
        with self._saying("stall"):
            yield

    @contextmanager
    def failing(self, number: int) -> Iterator[None]:
        with self._saying(str(number)):
            yield

    @contextmanager
    def _saying(self, word: str) -> Iterator[None]:
        draft = self._flag.with_suffix(".draft")
        draft.write_text(word)
        draft.rename(self._flag)
        try:
            yield
        finally:
            self._flag.unlink()
