"""Shells complete commands, options and values; each of them is asked itself where it is installed."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.client.transport import Client
from tests.cli.campaign import make
from tests.cli.conftest import Balsam
from tests.cli.test_help import HEAVY

SHOW_MODULES = """
import sys
from balsam.cli.main import run
try:
    run([], False)
finally:
    print('|', *sys.modules)
"""


def asked(words: str, *, program: list[str] | None = None) -> str:
    """What bash is answered for these words, the last of which is to be completed."""
    count = len(words.split(" ")) - 1
    environment = {
        **os.environ,
        "_BALSAM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    command = program or [sys.executable, "-m", "balsam.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def values(words: str) -> set[str]:
    return {line.split(",", 1)[1] for line in asked(words).splitlines() if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shells_script_is_printed(shell: str, balsam: Balsam) -> None:
    said = balsam("completion", shell)
    assert said.status == 0
    assert "_BALSAM_COMPLETE" in said.out and f"{shell}_complete" in said.out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=said.out, text=True, check=True)


def test_other_shells_are_refused_with_those_that_there_are(balsam: Balsam) -> None:
    said = balsam("completion", "csh")
    assert said.status == 2 and "fish" in said.err


def test_commands_and_options_are_completed(home: Path) -> None:
    assert {"job", "queue", "completion"} <= values("balsam ")
    assert values("balsam jo") == {"job"}
    assert {"ls", "logs", "retry"} <= values("balsam job ")
    assert {"--json", "--by-tag", "--watch"} <= values("balsam job ls --")


def test_values_are_completed_also_behind_commas(home: Path) -> None:
    assert values("balsam job ls --state RUN_") == {"RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"}
    assert values("balsam job kill -s FAILED,run_d") == {"FAILED,RUN_DONE"}
    assert values("balsam job ls --columns id,st") == {"id,state"}
    assert values("balsam job ls --sort w") == {"workdir"}
    # Nobody is logged in.
    assert values("balsam job ls --site ") == {"all", "this", "active"}
    assert values("balsam job ls --app ") == set()


def test_names_of_sites_and_apps_come_from_the_server(client: Client, balsam: Balsam) -> None:
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    make("laptop")
    assert values("balsam queue ls --site la") == {"laptop"}
    assert values("balsam job create --app ") == {"Hello", "Add"}


def test_bash_itself_completes(client: Client, balsam: Balsam, home: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    (home / "bin").mkdir()
    (home / "bin" / "balsam").write_text(f'#!/bin/sh\nexec {sys.executable} -m balsam.cli.main "$@"\n')
    (home / "bin" / "balsam").chmod(0o755)
    script = """
    eval "$(balsam completion bash)"
    COMP_WORDS=(balsam job ls --state JOB); COMP_CWORD=4
    _balsam_completion balsam JOB --state
    echo "${COMPREPLY[*]}"
    """
    environment = {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "JOB_FINISHED", done.stderr


def test_completing_a_command_imports_nothing_heavy(home: Path) -> None:
    loaded = set(asked("balsam jo", program=[sys.executable, "-c", SHOW_MODULES]).rpartition("|")[2].split())
    assert "click" in loaded
    assert not HEAVY & loaded


def test_a_tab_key_is_answered_soon(home: Path) -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked("balsam job ls --state RUN")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)

    assert min(cpu_seconds() for _ in range(3)) < 1.0
