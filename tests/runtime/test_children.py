"""Programs that are started without a shell and without copying this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.runtime.children import Spawner


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
