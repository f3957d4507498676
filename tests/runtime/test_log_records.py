"""Log lines as records: levels, times, jobs; whatever the format; while files grow."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

import pytest

from balsam.core.states import JobState
from balsam.launcher.diary import Diary
from balsam.runtime.log_records import LOOKS_PER_QUIET, LogFile, Record, SiteLogs, first_line
from balsam.runtime.logs import DiscreetFormatter
from balsam.runtime.settings import LoggingSettings
from balsam.runtime.updates import Update

FORMATS = [
    LoggingSettings(),
    LoggingSettings(format="%(levelname)-8s %(asctime)s: %(message)s", datefmt="%d %b %H:%M:%S"),
    LoggingSettings(format="100%% %(name)s [%(levelname)s] (%(asctime)s) %(message)s", datefmt="%H.%M.%S"),
    LoggingSettings(format="%(message)s"),
]


@pytest.mark.parametrize("settings", FORMATS)
@pytest.mark.parametrize("message", ["all is well", "", "job 3 is | INFO | odd", "50 %"])
def test_what_a_formatter_writes_is_read_back(settings: LoggingSettings, message: str) -> None:
    record = logging.LogRecord("balsam.x", logging.WARNING, __file__, 7, message, None, None)
    line = DiscreetFormatter(settings.format, settings.datefmt).format(record)
    found = first_line(settings).match(line)
    assert found is not None
    told = found.groupdict()
    assert told.get("level") == ("WARNING" if "levelname" in settings.format else None)
    assert (told.get("time") is not None) == ("asctime" in settings.format)
    assert (told.get("time") or "") in line


def line(text: str, level: str = "INFO", second: int = 1) -> str:
    return f"2026-05-01 10:00:{second:02}.250 | 77 | {level} | balsam.x:12] {text}\n"


def test_the_lines_of_a_traceback_belong_to_their_record(tmp_path: Path) -> None:
    path = tmp_path / "service_1.log"
    trace = 'Traceback (most recent call last):\n  File "x"\nValueError: no\n'
    path.write_text(line("it failed", "ERROR") + trace + line("it goes on", second=2))
    records = list(LogFile(path, first_line(LoggingSettings())).read(finish=True))
    assert [(one.level, one.text.count("\n")) for one in records] == [(logging.ERROR, 3), (logging.INFO, 0)]
    assert records[0].source == "service_1"


def test_a_growing_file_gives_each_record_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "service_1.log"
    path.write_text(line("one") + line("two", second=2)[:30])
    file = LogFile(path, first_line(LoggingSettings()))
    assert [one.text for one in file.read(finish=False)] == []  # more lines may follow
    with path.open("a") as more:
        more.write(line("two", second=2)[30:] + "  its second line\n")
    assert [one.text[-3:] for one in file.read(finish=False)] == ["one"]
    assert [one.text for one in file.read(finish=False)] == [line("two", second=2) + "  its second line"]
    assert list(file.read(finish=True)) == []


def everything(_record: Record) -> bool:
    return True


def test_files_are_merged_by_time_and_new_ones_are_found(tmp_path: Path) -> None:
    (tmp_path / "service_1.log").write_text(line("a", second=1) + line("c", second=3))
    (tmp_path / "serial_mode_1.0.log").write_text("noise before the first record\n" + line("b", second=2))
    (tmp_path / "spool").mkdir()
    logs = SiteLogs(tmp_path, LoggingSettings())
    assert [one.text[-1] for one in logs.last(None, everything, finish=True)] == ["d", "a", "b", "c"]
    (tmp_path / "mpi_mode_1.0.log").write_text(line("e", second=4))
    assert logs.fresh(everything) == []  # more lines may follow
    assert [(one.source, one.text[-1]) for one in logs.fresh(everything)] == [("mpi_mode_1.0", "e")]


def test_the_last_records_are_found_without_reading_old_files(tmp_path: Path) -> None:
    paths = [tmp_path / f"service_{n}.log" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_text("".join(line(f"{n}{m}", second=10 * n + m) for m in range(5)))
        moment = datetime(2026, 5, 1, 10, 0, 10 * n + 4).timestamp()
        os.utime(path, (moment, moment))
    paths[0].unlink()
    (tmp_path / "service_0.log").mkdir()  # reading it would fail
    os.utime(tmp_path / "service_0.log", (moment - 20, moment - 20))
    logs = SiteLogs(tmp_path, LoggingSettings())
    assert [one.text[-2:] for one in logs.last(6, everything, finish=True)] == [
        *("14", "20", "21", "22", "23", "24")
    ]
    assert [one.text[-2:] for one in logs.last(2, lambda one: "x:12] 1" in one.text, finish=True)] == [
        "13",
        "14",
    ]


def test_files_that_have_long_been_quiet_are_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "service_1.log"
    path.write_text(line("one"))
    logs = SiteLogs(tmp_path, LoggingSettings())
    assert len(logs.last(1, everything, finish=False)) == 0
    os.utime(path, (0, 0))
    found = [one.text[-3:] for _ in range(2 * LOOKS_PER_QUIET) for one in logs.fresh(everything)]
    assert found == ["one"]


@pytest.mark.parametrize(
    ("text", "names_it"),
    [
        ("job 12 is killed by ada", True),
        ("preprocess() of job 12: it failed", True),
        ("jobs that went to RUNNING: [3, 12, 14]", True),
        ("jobs are lost (a reason): [12]", True),
        ("the session no longer holds 3 jobs, e.g. [12]", True),
        ("Job 12 waits", True),
        ("job 120 is killed", False),
        ("12 jobs are given back", False),
        ("launcher of batch job 12 on here", False),
        ("BatchJob 12 is submitted as 3", False),
        ("jobs that went to RUNNING: [3, 112, 124]", False),
        ("job 3 took 12 s", False),
        ("jobs: none of 12 [3]", False),
    ],
)
def test_a_record_concerns_the_jobs_that_it_names(text: str, names_it: bool) -> None:
    assert Record("x", 20, "", text).concerns(12) is names_it


def test_a_launchers_diary_names_its_jobs_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    diary = Diary()
    diary.note([Update(n, JobState.running, 0) for n in (1, 2)] + [Update(1, JobState.run_done, 0)], now=5.0)
    diary.write(5.0)
    assert caplog.messages == ["jobs that went to RUNNING: [1, 2]", "jobs that went to RUN_DONE: [1]"]
    assert Record("x", 20, "", caplog.messages[0]).concerns(2)
    diary.note([Update(3, JobState.running, 0)], now=5.1)
    diary.write(5.2)
    diary.note([Update(4, JobState.running, 0)], now=5.3)
    diary.write(diary.due - 0.01)
    assert len(caplog.messages) == 2
    diary.write(diary.due)
    assert caplog.messages[2:] == ["jobs that went to RUNNING: [3, 4]"]
    diary.write(float("inf"))
    assert len(caplog.messages) == 3
