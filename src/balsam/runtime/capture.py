"""What user code writes to stdout and stderr, C code and subprocesses included, goes to a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from balsam.runtime.job_output import open_appending


class NotWritable(Exception):
    """Output has nowhere to go; a sentence."""


_libc = ctypes.CDLL(None)


@contextlib.contextmanager
def output_to(path: str, heading: str = "") -> Iterator[None]:
    """Within the block, file descriptors 1 and 2 append to `path`; NotWritable if it can't be opened."""
    try:
        file = open_appending(path)
    except OSError as exc:
        raise NotWritable(f"can't write {path} in {Path.cwd()}: {exc.strerror}") from exc
    own = (os.dup(1), os.dup(2))
    streams = (sys.stdout, sys.stderr)
    try:
        flush()
        os.dup2(file, 1)
        os.dup2(file, 2)
        if heading:
            os.write(file, heading.encode())
        yield
    finally:
        flush()
        sys.stdout, sys.stderr = streams
        flush()
        for fd, saved in zip((1, 2), own, strict=True):
            os.dup2(saved, fd)
            os.close(saved)
        os.close(file)


def flush() -> None:
    """Writes out what Python and the C library hold back."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or replaced by user code
            stream.flush()
    _libc.fflush(None)
