"""What user code writes to stdout and stderr, C code and subprocesses included, goes to a file."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from balsam.runtime.job_output import open_appending

# Where nobody looks who closes or counts the first few: `os.closerange(3, 256)` is what daemons begin with.
HIGH = 512


class NotWritable(Exception):
    """Output has nowhere to go; a sentence."""


_libc = ctypes.CDLL(None)


class Output:
    """Sends the standard output and error of this process to a file for a while.

    Afterwards the three standard streams are what they were when this was made, whatever was done to them.
    """

    def __init__(self) -> None:
        self._own = [high(number) for number in (0, 1, 2)]
        self._streams = [_Stream.of(name) for name in ("stdin", "stdout", "stderr")]

    @contextlib.contextmanager
    def to(self, file: int) -> Iterator[None]:
        """Within the block, file descriptors 1 and 2 stand for `file`, which is closed."""
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        try:
            yield
        finally:
            flush()
            for stream in self._streams:
                stream.put_back()
            for number, saved in enumerate(self._own):
                os.dup2(saved, number)


def opened(path: str, heading: str = "") -> int:
    """A file descriptor that appends to a file, after a heading; raises NotWritable."""
    try:
        file = open_appending(path)
        try:
            os.write(file, heading.encode())  # on a full disk a file can be opened, and not be written
        except OSError:
            os.close(file)
            raise
    except OSError as exc:
        raise NotWritable(f"can't write {path} in {Path.cwd()}: {exc.strerror}") from exc
    return file


def high(number: int) -> int:
    """Another number for the same file, out of the way of programs that close or use the first ones."""
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError:
        return os.dup(number)  # few files are allowed here


@dataclass(slots=True)
class _Stream:
    """One of the standard streams as it was: closed or changed ones are made anew."""

    name: str
    stream: Any
    shape: tuple[Any, ...]

    @classmethod
    def of(cls, name: str) -> _Stream:
        stream = getattr(sys, name)
        return cls(name, stream, _shape(stream))

    def put_back(self) -> None:
        own = self.stream
        if own is not None and _shape(own) != self.shape:
            own = self.stream = _standard(self.name, self.shape)
            self.shape = _shape(own)
        elif getattr(sys, self.name) is own:
            return
        elif self.name != "stdin" and own is not None:
            with contextlib.suppress(OSError):  # a full disk, for example
                own.flush()  # it was out of the way when the others were
        setattr(sys, self.name, own)
        setattr(sys, f"__{self.name}__", own)


def _shape(stream: Any) -> tuple[Any, ...]:
    try:
        return (
            stream.closed,
            stream.encoding,
            stream.errors,
            stream.newlines,
            stream.line_buffering,
            stream.write_through,
            id(stream.buffer),
        )
    except (AttributeError, ValueError):  # detached, or no text file
        return ()


def _standard(name: str, shape: tuple[Any, ...]) -> TextIO:
    """A stream as Python makes it when it starts."""
    number = ("stdin", "stdout", "stderr").index(name)
    encoding, errors = shape[1:3] if shape else ("utf-8", "strict")
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    made = io.TextIOWrapper(buffer, encoding, errors, line_buffering=number > 0)
    vars(made)["mode"] = "r" if number == 0 else "w"
    return made


def flush() -> None:
    """Writes out what Python and the C library hold back."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed by user code, or in its place something of its own
            stream.flush()
    _libc.fflush(None)
