"""What a launcher reports, on disk before it is sent: nothing is lost with the launcher or in an outage.

Files of a session in `log/spool` of the site folder, readable by their owner alone; `none` stands for a
launcher without BatchJob:
    <batch_job>-<partition>-<session>.jsonl    one update a line, as it travels; {"owner": ...} names the
                                               process that writes; {"batch": [begin, end]} stands for what
                                               was sent in one request: to be sent again word for word;
                                               {"ending": ...} is why the launcher ended
    <batch_job>-<partition>-<session>.acked    the offset up to which the server has answered
    <batch_job>-<partition>-<session>.job      the job that is being prepared or started, 0 for none; where
                                               the launcher is dead: of which it died
    <batch_job>-<partition>-<session>.refused  what the server refused, each line with the reason

The writer holds a lock on the first one. Locks work within a host; beyond it, the owner's host and pid tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import socket
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from balsam.client.encoding import json_body
from balsam.core.clock import naive_text, now_us
from balsam.runtime.updates import Entry, UpdateQueue

log = logging.getLogger(__name__)

OFFSET_DIGITS = 20
_NAME = re.compile(r"(none|\d+)-(\d+)-(\d+)\.jsonl")
_OWNER = re.compile(rb'^\{"owner":.*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes in one request. `begin` and `end`, offsets in the spool, and the session are its key."""

    begin: int
    end: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class SpoolName:
    """Whose spool it is."""

    batch_job_id: int | None
    partition: int
    session_id: int

    @property
    def stem(self) -> str:
        return f"{_label(self.batch_job_id)}-{self.partition}-{self.session_id}"

    @classmethod
    def parse(cls, file_name: str) -> SpoolName | None:
        found = _NAME.fullmatch(file_name)
        if found is None:
            return None
        batch_job, partition, session = found.groups()
        return cls(None if batch_job == "none" else int(batch_job), int(partition), int(session))


def _label(batch_job_id: int | None) -> str:
    return "none" if batch_job_id is None else str(batch_job_id)


class SpoolFolder:
    """All spools of a site."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[SpoolName]:
        try:
            found = map(SpoolName.parse, sorted(os.listdir(self.path)))  # noqa: PTH208 - looked at often
            return [name for name in found if name is not None]
        except FileNotFoundError:
            return []

    def create(self, name: SpoolName) -> Spool:
        """A new session's spool. Where no file can be made it has `trouble`, and works in memory."""
        spool = Spool(self.path, name)
        spool.sync()
        return spool

    def take(self, name: SpoolName, *, of_any_host: bool = False) -> Spool | None:
        """The spool of a process that is dead, and what is left in it; None where it may be alive.

        `of_any_host`: also from a host whose processes can't be seen from here.
        """
        path = self.path / f"{name.stem}.jsonl"
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        locked = _lock(fd)
        if locked is False or not _is_at(fd, path):
            os.close(fd)
            return None
        content = _content(fd)
        owner = _owner(content)
        if not (of_any_host or _is_ours(owner)) or (locked is None and _lives(owner)):
            os.close(fd)
            return None
        content = _whole_lines(fd, content)
        spool = Spool(self.path, name)
        spool.resume(fd, content)
        return spool

    def is_of_this_host(self, name: SpoolName) -> bool:
        """Whether it was a process of this host that began it; reads little."""
        with contextlib.suppress(OSError), (self.path / f"{name.stem}.jsonl").open("rb") as file:
            return _is_ours(_owner(file.readline(1_000)))
        return False

    def count_refused(self, batch_job_id: int | None) -> int:
        """Updates of this BatchJob's launchers that the server refused."""
        files = self.path.glob(f"{_label(batch_job_id)}-*.refused")
        return sum(file.read_bytes().count(b"\n") for file in files)


class Spool:
    """One session's updates. `append` may be called beside everything else, which is one thread's."""

    def __init__(self, folder: Path, name: SpoolName) -> None:
        self.name = name
        self.trouble: str | None = None  # why updates are in memory only
        self.ending: dict[str, Any] | None = None  # why its launcher ended, as it travels
        self.left_at_job: int | None = None  # which one a launcher that died was about to start
        self._job_fd: int | None = None
        self._noted_job: int | None = None  # what is in that file, as far as it is known
        self._folder = folder
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._closed = False
        self._queue = UpdateQueue()
        self._marked: deque[Batch] = deque()  # those that were sent by whoever had the spool before
        self._begin = 0  # of the next batch
        self._last = 0  # the end of the last entry
        # Bytes from the offset `_synced` on; so many of them are written, and may be lost with the host.
        self._tail = bytearray(_owner_line())
        self._synced = 0
        self._written = 0

    @property
    def path(self) -> Path:
        return self._folder / f"{self.name.stem}.jsonl"

    @property
    def end(self) -> int:
        """Where the last update ends."""
        return self._last

    def __bool__(self) -> bool:
        """Whether there are updates that no batch has."""
        return bool(self._marked or self._queue)

    def append(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Takes in items of a bulk request; they are in the file then, or in memory while that is full."""
        lines = [(item, json_body(item)) for item in items]
        with self._lock:
            if self._closed:
                log.error("too late, after the end of session %d: %s", self.name.session_id, lines)
                return
            for item, line in lines:
                self._tail += line + b"\n"
                self._last = self._synced + len(self._tail)
                self._queue.add(Entry(item["id"], item["state"], line, self._last))
            self._write()

    def note_ending(self, ending: Mapping[str, Any]) -> None:
        """Why the launcher ends, for whoever sends the last of this."""
        with self._lock:
            self.ending = dict(ending)
            self._tail += orjson.dumps({"ending": ending}) + b"\n"
        self.sync()

    def note_job(self, job_id: int) -> None:
        """Which job is being prepared or started; 0: none. It need not outlast the host, but the process."""
        if job_id == self._noted_job:
            return
        try:
            if self._job_fd is None:
                if self._fd is None:
                    return
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._job_fd = os.open(self.path.with_suffix(".job"), flags, 0o600)
            os.pwrite(self._job_fd, b"%0*d\n" % (OFFSET_DIGITS, job_id), 0)
            self._noted_job = job_id
        except OSError:
            self._noted_job = None  # then it is not known of which job the launcher died

    def next_batch(self, limit: int) -> Batch | None:
        """The first updates that no batch has yet; they are on the disk by then, if it takes them."""
        if self._marked:
            return self._marked.popleft()
        with self._lock:
            entries = self._queue.next_batch(limit)
            if not entries:
                return None
            batch = Batch(self._begin, entries[-1].end, tuple(entries))
            self._begin = batch.end
            self._tail += orjson.dumps({"batch": [batch.begin, batch.end]}) + b"\n"
        self.sync()
        return batch

    def acknowledge(self, batch: Batch) -> None:
        """The server has answered this batch. Losing that does no harm: it would answer the same."""
        try:
            fd = os.open(self.path.with_suffix(".acked"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, b"%0*d\n" % (OFFSET_DIGITS, batch.end), 0)
            finally:
                os.close(fd)
        except OSError as exc:
            log.debug("the offset of %s was not written: %s", self.path, exc)

    def keep_refused(self, refused: Sequence[tuple[Entry, str]]) -> None:
        """Notes what the server refused, with the reason."""
        for entry, reason in refused[:20]:
            log.warning("an update of job %d to %s was refused: %s", entry.job_id, entry.state, reason)
        self._keep([(reason, entry.line) for entry, reason in refused])

    def _keep(self, told: Sequence[tuple[str, bytes]]) -> None:
        if not told:
            return
        path = self.path.with_suffix(".refused")
        lines = [
            {"reason": reason, "time": naive_text(now_us()), "update": _read(line)} for reason, line in told
        ]
        try:
            with open(path, "ab", opener=_private) as file:
                file.write(b"".join(orjson.dumps(line) + b"\n" for line in lines))
            log.warning("%d updates were refused: they are kept in %s", len(lines), path)
        except OSError as exc:
            log.error(
                "%d refused updates can't be kept in %s (%s): %s", len(lines), path, exc.strerror, lines
            )

    def sync(self) -> None:
        """Brings all that was appended to the disk; `trouble` tells whether that has worked."""
        with self._lock:
            if not self._write():
                return
            fd, count = self._fd, self._written
        if count == 0 or fd is None:
            return
        try:
            os.fdatasync(fd)
        except OSError as exc:
            with self._lock:
                self._written = 0  # the system may have forgotten what it took
                self._fails(exc)
            return
        with self._lock:
            del self._tail[:count]
            self._synced += count
            self._written -= count
            if self.trouble is not None:
                log.info("%s can be written again", self.path)
                self.trouble = None

    def close(self) -> None:
        """Everything is acknowledged or refused: the spool is removed."""
        with self._lock:
            self._closed = True
            if self._fd is not None:
                for suffix in (".jsonl", ".acked", ".job"):
                    self.path.with_suffix(suffix).unlink(missing_ok=True)
            self._let_go()

    def leave(self) -> None:
        """Gives the spool up as it is, for somebody else to take."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _let_go(self) -> None:
        if self._job_fd is not None:
            os.close(self._job_fd)
            self._job_fd = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # ---- the file ----

    def _write(self) -> bool:
        """Whether the file has all. Under the lock."""
        if self._closed:
            return False
        try:
            if self._fd is None:
                self._fd = self._make()
            while self._written < len(self._tail):
                rest = bytes(self._tail[self._written :])
                self._written += os.pwrite(self._fd, rest, self._synced + self._written)
        except OSError as exc:
            self._fails(exc)
            return False
        return True

    def _fails(self, exc: OSError) -> None:
        sentence = f"reports can't be written to {self.path}: {exc.strerror}"
        if self.trouble is None:
            log.error("%s; they are kept in memory, and no run is started until there is room", sentence)
        self.trouble = sentence

    def _make(self) -> int:
        """A file that nobody has seen before it is locked."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{self.name.stem}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _lock(fd)
            if self.path.exists():  # of a server that has counted its sessions anew
                self.path.rename(self.path.with_name(f"{self.path.name}.{now_us()}"))
            draft.rename(self.path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def resume(self, fd: int, content: bytes) -> None:
        """Goes on with another process's file, which holds this content."""
        acked = _number(self.path.with_suffix(".acked"))
        self.left_at_job = _number(self.path.with_suffix(".job")) or None
        damaged: list[tuple[str, bytes]] = []
        end = 0
        for line in content.split(b"\n")[:-1]:
            end += len(line) + 1
            told = _read(line)
            match told:
                case {"id": int(job_id), "state": str(state)}:
                    self._queue.add(Entry(job_id, state, line, end))
                    self._last = end
                case {"batch": [int(begin), int(until)]}:
                    batch = Batch(begin, until, tuple(self._queue.take_until(until)))
                    self._begin = until
                    if until > acked:
                        self._marked.append(batch)
                case {"owner": _}:
                    pass
                case {"ending": dict(ending)}:
                    self.ending = ending
                case _:
                    damaged.append(("this line of the spool can't be read", line))
        self._fd, self._synced = fd, len(content)
        self._keep(damaged)
        self.sync()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _owner_line() -> bytes:
    return orjson.dumps({"owner": {"host": socket.gethostname(), "pid": os.getpid()}}) + b"\n"


def _read(line: bytes) -> Any:
    """The JSON of a line, or its text."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.decode("utf-8", "replace")


def _content(fd: int) -> bytes:
    parts: list[bytes] = []
    while part := os.pread(fd, 1 << 24, sum(map(len, parts))):
        parts.append(part)
    return b"".join(parts)


def _whole_lines(fd: int, content: bytes) -> bytes:
    """Cuts off what a crash left of the last line."""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        log.warning("the last line of a spool is torn: %d bytes are cut off", len(content) - len(whole))
        os.ftruncate(fd, len(whole))
    return whole


def _owner(content: bytes) -> dict[str, Any]:
    """The process that wrote it last; empty where that is not known."""
    lines = _OWNER.findall(content)
    told = _read(lines[-1]) if lines else None
    return told["owner"] if isinstance(told, dict) else {}


def _is_ours(owner: Mapping[str, Any]) -> bool:
    return owner.get("host") in (None, socket.gethostname())


def _lives(owner: Mapping[str, Any]) -> bool:
    """Whether there is such a process, on this host."""
    if not _is_ours(owner) or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _lock(fd: int) -> bool | None:
    """Whether this process has the file's lock now; None where the filesystem knows no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(fd: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(fd).st_ino
    return False


def _number(path: Path) -> int:
    """What a file of one number says; 0 without one."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_bytes())
    return 0
