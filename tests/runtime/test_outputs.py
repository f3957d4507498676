"""Outputs of several attempts and several jobs in one workdir: none is lost, none is taken for another."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.reports import tail
from balsam.runtime import job_output
from balsam.runtime.job_output import Attempt, Unreadable, Wanted, begin, owner_of, place, read_piece


@pytest.fixture
def write(tmp_path: Path) -> Callable[[int, int, str], None]:
    def written(job_id: int, number: int, text: str) -> None:
        fd = begin(str(tmp_path), Attempt(job_id, number))
        os.write(fd, text.encode())
        os.close(fd)

    return written


Write = Callable[[int, int, str], None]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def read(folder: Path, job_id: int, attempt: int | None = None, *, may_come: bool = False) -> str:
    wanted = Wanted(folder.name, None, 0, True, job_id, attempt, may_come)
    return read_piece(folder.parent, wanted).text


def test_each_run_begins_a_file_and_earlier_attempts_stay_beside_it(tmp_path: Path, write: Write) -> None:
    for number in (1, 2, 3):
        write(7, number, f"attempt {number}")
    assert names(tmp_path) == ["job.1.out", "job.2.out", "job.out"]
    assert (tmp_path / "job.out").read_text() == "attempt 3"
    assert [read(tmp_path, 7, number) for number in (1, 2, 3, None)] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
        "attempt 3",
    ]
    assert read(tmp_path, 7, 4, may_come=True) == ""
    with pytest.raises(Unreadable, match="no output of attempt 4 of job 7"):
        read(tmp_path, 7, 4)


def test_several_jobs_in_one_workdir_are_told_apart(tmp_path: Path, write: Write) -> None:
    for job_id, number in ((5, 1), (6, 1), (5, 2), (5, 3), (6, 2)):
        write(job_id, number, f"{job_id}.{number}")
    for job_id, number in ((5, 1), (6, 1), (5, 2), (5, 3), (6, 2)):
        assert read(tmp_path, job_id, number) == f"{job_id}.{number}"
    assert (read(tmp_path, 5), read(tmp_path, 6), read(tmp_path, 8)) == ("5.3", "6.2", "")
    assert len(names(tmp_path)) == 5


def test_runs_at_the_same_time_in_one_workdir_keep_their_own(tmp_path: Path, write: Write) -> None:
    first = begin(str(tmp_path), Attempt(5, 1))
    write(6, 1, "six")
    os.write(first, b"five")
    os.close(first)
    assert (read(tmp_path, 5), read(tmp_path, 6)) == ("five", "six")
    assert tail(Path(place(str(tmp_path), 5) or ""), 5) == "five"


def test_an_attempt_that_the_server_never_heard_of_is_kept(tmp_path: Path, write: Write) -> None:
    write(5, 1, "lost")
    write(5, 1, "again")
    write(5, 1, "and again")
    write(5, 2, "two")
    kept = {path.read_text() for path in tmp_path.glob("job*.out")}
    assert kept == {"lost", "again", "and again", "two"}
    assert read(tmp_path, 5, 2) == "two"


def test_what_a_user_or_a_command_puts_there_is_kept(tmp_path: Path, write: Write) -> None:
    (tmp_path / "job.out").write_text("notes")
    write(5, 1, "one")
    assert (tmp_path / "job.0.out").read_text() == "notes"
    (tmp_path / "job.out").unlink()
    (tmp_path / "job.out").write_text("the command's own")
    assert read(tmp_path, 5) == "the command's own"
    write(5, 2, "two")
    assert read(tmp_path, 5, 1) == "the command's own"


def test_owners_are_known_on_filesystems_without_attributes(tmp_path: Path) -> None:
    path = tmp_path / "job.out"
    path.touch()
    beside = tmp_path / ".job.out.run"
    beside.write_text(f"{path.stat().st_ino} 5.2")
    assert owner_of(str(path)) == Attempt(5, 2)
    beside.write_text(f"{path.stat().st_ino + 1} 5.2")  # of another file of that name
    assert owner_of(str(path)) is None


@given(st.lists(st.tuples(st.integers(5, 7), st.booleans()), max_size=12))
def test_whatever_runs_where_nothing_is_lost_or_mistaken(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, bool]]
) -> None:
    """`starts`: which job begins, and whether the server hears of it."""
    folder = tmp_path_factory.mktemp("runs")
    runs = dict.fromkeys((5, 6, 7), 0)
    written: dict[Attempt, str] = {}
    for count, (job_id, heard) in enumerate(starts):
        attempt = Attempt(job_id, runs[job_id] + 1)
        fd = begin(str(folder), attempt)
        os.write(fd, f"{count}".encode())
        os.close(fd)
        written[attempt] = f"{count}"
        runs[job_id] += heard
    assert len(names(folder)) == len(starts)
    last: dict[int, str] = {attempt.job_id: text for attempt, text in written.items()}
    for attempt, text in written.items():
        if attempt.number <= runs[attempt.job_id]:
            assert read(folder, attempt.job_id, attempt.number) == text
    if starts:
        assert read(folder, starts[-1][0]) == last[starts[-1][0]]


class TestOddOnes:
    """A link, device, FIFO or folder called job.out is the user's wish, or is refused with a sentence."""

    def test_a_link_stays_and_is_written_to(self, tmp_path: Path, write: Write) -> None:
        target = tmp_path / "elsewhere.log"
        (tmp_path / "job.out").symlink_to(target)
        write(5, 1, "one\n")
        assert job_output.size_before(str(tmp_path)) == 4
        write(5, 2, "two\n")
        assert (tmp_path / "job.out").is_symlink() and target.read_text() == "one\ntwo\n"
        assert tail(tmp_path / "job.out", 9, begins=4) == "two"

    def test_dev_null_takes_everything(self, tmp_path: Path, write: Write) -> None:
        (tmp_path / "job.out").symlink_to("/dev/null")
        write(5, 1, "one")
        write(5, 2, "two")
        assert names(tmp_path) == ["job.out"]

    @pytest.mark.parametrize("device", ["/dev/full", "/dev/zero"])
    def test_other_devices_are_refused(self, tmp_path: Path, device: str, write: Write) -> None:
        (tmp_path / "job.out").symlink_to(device)
        with pytest.raises(OSError, match="it is a device"):
            write(5, 1, "one")
        assert tail(tmp_path / "job.out", 5) == ""  # and /dev/zero has no end

    def test_a_fifo_needs_a_reader(self, tmp_path: Path, write: Write) -> None:
        path = tmp_path / "job.out"
        os.mkfifo(path)
        with pytest.raises(OSError, match="No such device"):
            write(5, 1, "one")
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fd = begin(str(tmp_path), Attempt(5, 1))
        assert os.get_blocking(fd) and stat.S_ISFIFO(os.fstat(fd).st_mode)
        os.close(fd)
        os.close(reader)

    def test_a_folder_is_told(self, tmp_path: Path, write: Write) -> None:
        (tmp_path / "job.out").mkdir()
        with pytest.raises(IsADirectoryError):
            write(5, 1, "one")
