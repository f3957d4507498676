"""Reading a site's logs: lines as records, whatever format the settings give them."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from balsam.runtime.settings import LoggingSettings

_FIELD = re.compile(r"%\((\w+)\)[-#0-9 +.]*[a-zA-Z]|%%")
_LEVEL = r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)"
CHUNK_BYTES = 1 << 20
SUFFIX = ".log"
QUIET_SEC = 3600.0
LOOKS_PER_QUIET = 30


@dataclass(frozen=True)
class Record:
    """One thing that was logged, with all its lines. `level` 0 and `time` "" where the format tells none."""

    source: str
    level: int
    time: str
    text: str

    def concerns(self, job_id: int) -> bool:
        """Whether it names this job."""
        return _names(job_id).search(self.text) is not None


Wanted = Callable[[Record], bool]


def _names(job_id: int) -> re.Pattern[str]:
    """`job 12`, or `jobs ...: [3, 12]`; but neither `BatchJob 12` nor `12 jobs`."""
    return re.compile(rf"(?<!batch )\b[Jj]ob {job_id}\b|\bjobs\b[^\[\n]*\[[^\]\n]*\b{job_id}\b[^\]\n]*\]")


def first_line(settings: LoggingSettings) -> re.Pattern[str]:
    """What the first line of a record looks like, with the groups `level` and `time` where it has them."""
    pattern, end = "", 0
    for found in _FIELD.finditer(settings.format):
        pattern += re.escape(settings.format[end : found.start()])
        pattern += _part(found[1], settings, pattern)
        end = found.end()
    return re.compile(pattern + re.escape(settings.format[end:]) + r"\Z")


def _part(name: str | None, settings: LoggingSettings, before: str) -> str:
    if name == "levelname" and "?P<level>" not in before:
        return rf"{_LEVEL}\s*"
    if name == "asctime" and "?P<time>" not in before:
        return rf"(?P<time>{_time(settings.datefmt)})"
    return "%" if name is None else ".*" if name == "message" else ".*?"


def _time(datefmt: str) -> str:
    """A time of this format, as far as its digits go."""
    sample = datetime(2026, 1, 2, 3, 4, 5).strftime(datefmt)
    parts = re.split(r"(\d+|[^\W\d]+)", sample)
    kinds = {True: r"\d", False: r"[^\W\d]"}
    return "".join(
        re.escape(part)
        if not re.fullmatch(r"\d+|[^\W\d]+", part)
        else kinds[part.isdigit()] + ("+" if not part.isdigit() else f"{{{len(part)}}}")
        for part in parts
    )


@dataclass
class LogFile:
    """A file that may grow; each call of `read` yields the records that came since."""

    path: Path
    pattern: re.Pattern[str]
    _offset: int = 0
    _rest: bytes = b""  # of a line that is not yet whole
    _held: list[str] = field(default_factory=list)  # lines of a record that may have more

    def read(self, *, finish: bool) -> Iterator[Record]:
        """`finish`: also the last record, whose lines may go on."""
        grown = False
        for line in self._lines():
            grown = True
            if self._held and self.pattern.match(line):
                yield self._record()
            self._held.append(line)
        # What has not grown since the last look is whole.
        if self._held and (finish or not grown):
            yield self._record()

    def skip(self) -> None:
        """Leaves out what the file holds now."""
        self._offset = self.path.stat().st_size

    def _record(self) -> Record:
        lines, self._held = self._held, []
        found = self.pattern.match(lines[0])
        told = found.groupdict() if found else {}
        level = logging.getLevelNamesMapping().get(told.get("level") or "", 0)
        return Record(self.path.stem, level, told.get("time") or "", "\n".join(lines))

    def _lines(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                while chunk := file.read(CHUNK_BYTES):
                    self._offset += len(chunk)
                    *whole, self._rest = (self._rest + chunk).split(b"\n")
                    yield from (line.decode("utf-8", "replace").rstrip("\r") for line in whole)
        except FileNotFoundError:
            return


class SiteLogs:
    """The agent's and the launchers' logs of one site, of which there may be years."""

    def __init__(self, folder: Path, settings: LoggingSettings) -> None:
        self._folder = folder
        self._datefmt = settings.datefmt
        self._pattern = first_line(settings)
        self._files: dict[Path, LogFile] = {}
        self._looks = 0

    def last(self, count: int | None, is_wanted: Wanted, *, finish: bool) -> list[Record]:
        """The last `count` chosen records by time, or all; older files than these take are not read.

        `finish`: also a record whose lines may go on; else it comes with `fresh`.
        """
        found: list[Record] = []
        for changed, path in sorted(self._changed(), reverse=True):
            file = self._files[path] = LogFile(path, self._pattern)
            if count is not None and len(found) >= count and self._time(changed) < found[-count].time:
                file.skip()
            else:
                found = in_time(found, filter(is_wanted, _timed(file.read(finish=finish))))
        return found if count is None else found[max(0, len(found) - count) :]

    def fresh(self, is_wanted: Wanted) -> list[Record]:
        """The chosen records that came since the last call, in files that have begun since, too.

        Files that have long been quiet are looked at more rarely: there may be hundreds, on a slow disk.
        """
        self._looks += 1
        found: list[Record] = []
        for changed, path in self._changed():
            is_new = path not in self._files
            file = self._files.setdefault(path, LogFile(path, self._pattern))
            is_quiet = time.time() - changed > QUIET_SEC
            if is_new or not is_quiet or self._looks % LOOKS_PER_QUIET == 0:
                found += filter(is_wanted, _timed(file.read(finish=False)))
        return in_time(found, ())

    def _changed(self) -> list[tuple[float, Path]]:
        """When each log was changed last."""
        try:
            with os.scandir(self._folder) as entries:
                return [(one.stat().st_mtime, Path(one)) for one in entries if one.name.endswith(SUFFIX)]
        except FileNotFoundError:
            return []

    def _time(self, moment: float) -> str:
        """As records tell it; a second later, for file systems keep times roughly."""
        return datetime.fromtimestamp(moment + 1).strftime(self._datefmt)


def in_time(found: Iterable[Record], more: Iterable[Record]) -> list[Record]:
    """By time, as far as the format sorts; what one process wrote stays in its order."""
    return sorted([*found, *more], key=lambda record: record.time)


def _timed(records: Iterable[Record]) -> Iterator[Record]:
    """A record without a time of its own has that of the one before."""
    time = ""
    for record in records:
        time = record.time or time
        yield Record(record.source, record.level, time, record.text)
