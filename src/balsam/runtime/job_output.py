"""A job's outputs in its workdir: `job.out` is the last run's, and what was there before stays beside it.

    job.out          of the run that began last in this workdir
    job.2.out        of the job's second attempt, set aside when the third began
    job-17.2.out     of another job's (id 17) second attempt, in a workdir that several jobs share
    job.0.out        what nobody knows, and was there before

Names that are taken get a number more (job.2.2.out): nothing is ever overwritten. Whose a file is stands in
an attribute of it, or, on filesystems without those, in a file beside it.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
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
class Attempt:
    """A run of a job, by its number: 1 for the first."""

    job_id: int
    number: int


def begin(workdir: str, attempt: Attempt) -> int:
    """A file descriptor for what a run writes into its job.out; raises OSError.

    What an earlier run has left there is set aside. A link, device or FIFO of that name is the user's wish:
    it stays, and is written to.
    """
    path = f"{workdir}/{JOB_OUTPUT}"
    for _ in range(5):  # another run may begin in this workdir at the same time
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            pass
        else:
            _mark(path, fd, attempt)
            return fd
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return _open_as_it_is(path)
            _set_aside(workdir, path, attempt)
    raise FileExistsError(errno.EEXIST, "others write there all the time")


def place(workdir: str, job_id: int, number: int | None = None) -> str | None:
    """The path of a job's output: of one attempt, or of the last one; None where there is none.

    A job.out of which nobody knows who began it is that of the last attempt.
    """
    path = f"{workdir}/{JOB_OUTPUT}"
    owner = owner_of(path)
    if number is None and owner is None:
        return path
    if owner is not None and owner.job_id == job_id and number in (None, owner.number):
        return path
    if number is None:
        return _last(_kept(workdir, f"job-{job_id}"))
    kept = _kept(workdir, f"job-{job_id}", number)
    own = [path for path in _kept(workdir, "job", number) if _may_be(path, job_id)]
    return _last(kept or own)


def size_before(workdir: str) -> int:
    """How much is in a job.out before a run writes to it, where it is not set aside."""
    path = f"{workdir}/{JOB_OUTPUT}"
    try:
        # Once per run, and pathlib takes longer than the kernel.
        return 0 if stat.S_ISREG(os.lstat(path).st_mode) else os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def owner_of(path: str) -> Attempt | None:
    """The run that began a file of output, where that is known."""
    try:
        said = os.getxattr(path, _ATTRIBUTE, follow_symlinks=False)
    except OSError:
        said = _said_beside(path)
    try:
        job_id, number = map(int, said.split(b"."))
    except ValueError:
        return None
    return Attempt(job_id, number)


_ATTRIBUTE = "user.balsam.run"
_BESIDE = ".job.out.run"


def _mark(path: str, fd: int, attempt: Attempt) -> None:
    said = b"%d.%d" % (attempt.job_id, attempt.number)
    try:
        os.setxattr(fd, _ATTRIBUTE, said)
    except OSError:
        # With the file's number: it says nothing of a later file of the same name.
        content = b"%d %b" % (os.fstat(fd).st_ino, said)
        with contextlib.suppress(OSError):
            Path(path).with_name(_BESIDE).write_bytes(content)


def _said_beside(path: str) -> bytes:
    with contextlib.suppress(OSError, ValueError):
        with Path(path).with_name(_BESIDE).open("rb") as file:
            number, said = file.read(100).split()
        if int(number) == os.lstat(path).st_ino:
            return said
    return b""


def _open_as_it_is(path: str) -> int:
    fd = open_appending(path)
    facts = os.fstat(fd)
    if stat.S_ISCHR(facts.st_mode) and facts.st_rdev != Path(os.devnull).stat().st_rdev:
        os.close(fd)
        raise OSError(errno.EINVAL, "it is a device; only files, FIFOs with a reader and /dev/null will do")
    os.set_blocking(fd, True)  # a FIFO's reader may be slower than the run
    return fd


def _set_aside(workdir: str, path: str, attempt: Attempt) -> None:
    """Renames what is there: one step, so that a crash leaves it under one of the two names."""
    owner = owner_of(path)
    if owner is None:
        stem = f"job.{attempt.number - 1}"
    else:
        stem = f"job-{owner.job_id}.{owner.number}"
        # Of the names that one attempt may have, those that begin so are the later ones.
        if owner.job_id == attempt.job_id and not os.path.lexists(f"{workdir}/{stem}.out"):
            own = f"job.{owner.number}"
            stem = own if _may_be(f"{workdir}/{own}.out", owner.job_id) else stem
    kept = f"{workdir}/{stem}.out"
    number = 2
    while os.path.lexists(kept):
        kept = f"{workdir}/{stem}.{number}.out"
        number += 1
    os.rename(path, kept)  # noqa: PTH104 - as above


def _kept(workdir: str, stem: str, number: int | None = None) -> list[str]:
    """Outputs that were set aside under such a name, the newest last."""
    which = r"\d+" if number is None else str(number)
    pattern = re.compile(rf"{stem}\.({which})(?:\.(\d+))?\.out")
    found = []
    with contextlib.suppress(OSError), os.scandir(workdir) as entries:
        for entry in entries:
            if match := pattern.fullmatch(entry.name):
                found.append((int(match[1]), int(match[2] or 1), entry.path))
    return [path for _, _, path in sorted(found)]


def _last(paths: list[str]) -> str | None:
    return paths[-1] if paths else None


def _may_be(path: str, job_id: int) -> bool:
    owner = owner_of(path)
    return owner is None or owner.job_id == job_id


@dataclass(frozen=True, slots=True)
class Wanted:
    """The last `lines` lines, or what comes behind `after` bytes, of a job's last attempt or of another one.

    `final`: nobody writes any more, so that the first half of a character at the end is no character.
    `may_come`: that attempt has not begun.
    """

    workdir: str
    lines: int | None
    after: int | None
    final: bool
    job_id: int | None = None
    attempt: int | None = None
    may_come: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """`offset`: of the byte behind the text; `size`: of the whole file."""

    text: str
    offset: int
    size: int
    path: str


def read_piece(data_path: Path, wanted: Wanted) -> Piece:
    """At most MAX_TAIL_BYTES; empty where there is no file yet. Raises Unreadable, OSError."""
    path = _path_of(data_path / wanted.workdir, wanted)
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


def _path_of(folder: Path, wanted: Wanted) -> Path:
    if wanted.job_id is None:
        return folder / JOB_OUTPUT
    found = place(str(folder), wanted.job_id, wanted.attempt)
    if found is not None:
        return Path(found)
    if wanted.attempt is not None and not wanted.may_come:
        of = f"attempt {wanted.attempt} of job {wanted.job_id}"
        raise Unreadable(f"there is no output of {of} in {folder}: it left none there, or it was removed")
    # What is there is another job's; this one has not begun.
    return folder / f"job-{wanted.job_id}.out"


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
