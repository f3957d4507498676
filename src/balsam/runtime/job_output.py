"""Pieces of a job's output, read for somebody far away."""

from __future__ import annotations

import codecs
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from balsam.core.limits import MAX_TAIL_BYTES

JOB_OUTPUT = "job.out"


class Unreadable(Exception):
    """Why an output can't be shown; a sentence."""


def open_appending(path: str) -> int:
    """A file descriptor for what a run writes; raises OSError."""
    # Non-blocking: a FIFO of that name, which nobody reads, must not hold up anybody.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The last `lines` lines, or what comes behind `after` bytes.

    `final`: nobody writes any more, so that the first half of a character at the end is no character.
    """

    workdir: str
    lines: int | None
    after: int | None
    final: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """`offset`: of the byte behind the text; `size`: of the whole file."""

    text: str
    offset: int
    size: int
    path: str


def read_piece(data_path: Path, wanted: Wanted) -> Piece:
    """At most MAX_TAIL_BYTES; empty where there is no file yet. Raises Unreadable, OSError."""
    path = data_path / wanted.workdir / JOB_OUTPUT
    try:
        # A pipe in the file's place must not hold up the reader.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Piece("", 0, 0, str(path))
    try:
        size = _checked_size(fd, path, data_path)
        start = _start_of_lines(fd, size, wanted.lines) if wanted.after is None else min(wanted.after, size)
        data = os.pread(fd, MAX_TAIL_BYTES, start)
        text, length = decoded(data, wanted.final and start + len(data) >= size)
        return Piece(text, start + length, size, str(path))
    finally:
        os.close(fd)


def _checked_size(fd: int, path: Path, data_path: Path) -> int:
    facts = os.fstat(fd)
    # What was opened, however links were changed meanwhile.
    real = Path(f"/proc/self/fd/{fd}").readlink()
    if not real.is_relative_to(data_path.resolve()):
        raise Unreadable(f"{path} leads out of the site's data folder")
    if not stat.S_ISREG(facts.st_mode):
        raise Unreadable(f"{path} is no file")
    return facts.st_size


def _start_of_lines(fd: int, size: int, lines: int | None) -> int:
    """Where the last lines begin, or as much of them as one answer holds."""
    start = max(0, size - MAX_TAIL_BYTES)
    data = os.pread(fd, size - start, start)
    end = len(data) - data.endswith(b"\n")
    place = len(data) if not lines else end
    for _ in range(lines or 0):
        place = data.rfind(b"\n", 0, place)
        if place < 0:
            return start + (_rest_of_character(data) if start else 0)
    return start + (place + 1 if lines else place)


def _rest_of_character(data: bytes) -> int:
    """How many bytes at the start belong to a character that began before them."""
    return next((i for i, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)


def decoded(data: bytes, final: bool) -> tuple[str, int]:
    """Text, and how many of the bytes it stands for: half a character at the end waits for its rest.

    What is no UTF-8 is replaced, and so is NUL, which no database holds.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    kept = len(data) - len(decoder.getstate()[0])
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}"), kept
