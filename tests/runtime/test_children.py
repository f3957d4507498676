"""Programs that are started without a shell and without copying this process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.runtime.children import Spawner, hangs_in_a_file
from tests.faulty_files import FaultyFiles
from tests.waiting import wait_until


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner(str(Path.cwd()))
    yield made
    made.close()


def run(spawner: Spawner, folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """The exit code, and what it wrote."""
    path = folder / "output"
    with path.open("wb") as output:
        pid = spawner.start(words, str(folder), {"PATH": "/usr/bin:/bin", **environment}, output.fileno())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), path.read_text()


def test_program_has_its_workdir_its_environment_and_a_session_of_its_own(
    spawner: Spawner, tmp_path: Path
) -> None:
    before = Path.cwd()
    told = 'echo $(pwd) $X $(ps -o sid= -p $$) $$; read line || echo "no input" >&2'
    code, text = run(spawner, tmp_path, "sh", "-c", told, X="1")
    assert code == 0
    where, variable, session, pid, *rest = text.split()
    assert (where, variable, session) == (str(tmp_path), "1", pid)
    assert rest == ["no", "input"]
    assert Path.cwd() == before


def test_relative_program_is_looked_for_in_the_workdir(spawner: Spawner, tmp_path: Path) -> None:
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\necho found\n")
    script.chmod(0o755)
    assert run(spawner, tmp_path, "./here.sh") == (0, "found\n")


def test_file_descriptors_of_this_process_are_not_inherited(tmp_path: Path) -> None:
    inherited = os.dup(0)
    os.set_inheritable(inherited, True)
    spawner = Spawner(str(Path.cwd()))
    _, text = run(spawner, tmp_path, "sh", "-c", "ls /proc/$$/fd; true")
    spawner.close()
    os.close(inherited)
    assert set(text.split()) <= {"0", "1", "2"}


def test_program_dies_of_a_broken_pipe(spawner: Spawner, tmp_path: Path) -> None:
    code, _ = run(spawner, tmp_path, "bash", "-c", "yes | head -1 >/dev/null; exit ${PIPESTATUS[0]}")
    assert code == 128 + 13


def test_program_that_can_not_be_started_raises_and_the_workdir_is_left(
    spawner: Spawner, tmp_path: Path
) -> None:
    before = Path.cwd()
    for name in ("no-such-program", "./none", str(tmp_path)):
        with pytest.raises(OSError):
            run(spawner, tmp_path, name)
    assert Path.cwd() == before


def test_program_on_a_filesystem_that_stalls_keeps_no_other_thread_waiting(tmp_path: Path) -> None:
    """What starts it waits until the filesystem answers, and does not hold the interpreter meanwhile."""
    folder = tmp_path / "shared"
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    files = FaultyFiles(folder, tmp_path)
    code = """
import os, sys, threading, time
from balsam.runtime.children import Spawner, hangs_in_a_file
from tests.faulty_files import FaultyFiles
from tests.waiting import wait_until

spawner, beats, over = Spawner(), [], threading.Event()
output = os.open(os.devnull, os.O_WRONLY)

def beat():
    while not over.wait(0.02):
        beats.append(time.monotonic())

threading.Thread(target=beat).start()
print("ready", flush=True)
pid = spawner.start([sys.argv[1]], "/tmp", dict(os.environ), output)
over.set()
gaps = [later - before for before, later in zip(beats, beats[1:])]
print(len(beats), max(gaps), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    words = [sys.executable, "-c", code, str(program)]
    environment = {**os.environ, **files.environment}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        with files.stall():
            assert process.stdout.readline() == "ready\n"
            time.sleep(1.0)
        count, longest, exit_code = process.stdout.read().split()
    assert int(count) > 20 and float(longest) < 0.5 and exit_code == "3"


def test_whether_a_process_group_hangs_in_a_file() -> None:
    """As the parent of a vfork does, until its child has started something else or ended."""
    code = "import ctypes; c = ctypes.CDLL(None); c.vfork() or (c.usleep(3_000_000), c._exit(0))"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        wait_until(lambda: hangs_in_a_file(process.pid))
    assert not hangs_in_a_file(os.getpgrp())
