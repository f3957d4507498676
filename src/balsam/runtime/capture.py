"""What user code writes to stdout and stderr, C code and subprocesses included, goes to a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_libc = ctypes.CDLL(None)


@contextlib.contextmanager
def output_to(path: str, heading: str = "") -> Iterator[None]:
    """Within the block, file descriptors 1 and 2 append to `path`; OSError if it can't be opened."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
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
