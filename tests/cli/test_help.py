"""`--help` and what is said to a wrong call."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import click
import pytest

from balsam.cli.main import COMMANDS, cli
from tests.cli.conftest import Balsam

SHOW_MODULES = (
    "import sys, json; from balsam.cli.main import run; run(['--help'], False); print('|', *sys.modules)"
)
HEAVY = {
    "httpx",
    "pydantic",
    "sqlalchemy",
    "fastapi",
    "rich",
    "psutil",
    "yaml",
    "balsam.sdk",
    "balsam.client",
}


def test_help_names_every_command(balsam: Balsam) -> None:
    said = balsam("--help")
    assert said.status == 0
    assert all(name in said.out for name in COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW_MODULES], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("|")[2].split())
    assert "click" in loaded
    assert not HEAVY & loaded


def test_help_is_answered_at_once() -> None:
    def cpu_seconds() -> float:
        """Of one call; the time on a clock would tell how busy the machine is."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "balsam.cli.main", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)

    assert min(cpu_seconds() for _ in range(5)) < 0.25


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, balsam: Balsam) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert balsam(name, "--help").status == 0
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner_name in command.list_commands(context):
            inner = command.get_command(context, inner_name)
            assert inner is not None and inner.help
            assert balsam(name, inner_name, "--help").status == 0


@pytest.mark.parametrize("words", [["nonsense"], ["job", "nonsense"], ["job", "ls", "--nonsense"], ["job"]])
def test_a_wrong_call_ends_with_status_2(words: list[str], balsam: Balsam) -> None:
    said = balsam(*words)
    assert said.status == 2
    assert said.err


# Names and flags of the published command line that users' scripts rely on.
PUBLISHED = """
{"login": ["--url", "-u", "--force", "-f"],
 "register": ["--address", "-a", "--username", "-u"],
 "site start": [], "site stop": [], "site init": ["--name", "-n"], "site rm": ["--force", "-f"],
 "site ls": ["--verbose", "-v"],
 "site mv": [], "site rename": [], "site sync": [], "site sample-settings": [],
 "app ls": ["--verbose", "-v", "--site", "-s"], "app rm": ["--name", "-n", "--site", "-s", "--all", "-a"],
 "job create": ["-w", "--workdir", "-a", "--app", "-tag", "--tag", "-p", "--param", "-n", "--num-nodes",
    "-rpn", "--ranks-per-node", "-tpr", "--threads-per-rank", "-tpc", "--threads-per-core", "-g",
    "--gpus-per-rank", "-npc", "--node-packing-count", "-lp", "--launch-param", "-t", "--wall-time-min",
    "-pid", "--parent-id", "-s", "--stage-data", "-y", "--yes", "--site"],
 "job ls": ["-t", "--tag", "-s", "--state", "-ns", "--exclude-state", "--id", "--by-state", "-w", "--workdir",
    "-a", "--app", "--site", "-v", "--verbose"],
 "job modify": ["-i", "--id", "-t", "--tag", "-s", "--state"],
 "job rm": ["-i", "--id", "-t", "--tag", "-s", "--state", "-ns", "--exclude-state", "--site", "-y", "--all"],
 "queue submit": ["-n", "--num-nodes", "-t", "--wall-time-min", "-q", "--queue", "-A", "--project", "-j",
    "--job-mode", "-tag", "--tag", "-p", "--part", "-x", "--extra-param", "--site"],
 "queue ls": ["-n", "--num", "-h", "--history", "-v", "--verbose", "--site", "--scheduler_id"],
 "queue term": [], "server deploy": ["--path", "-p"], "server down": ["--path", "-p"],
 "server up": ["--path", "-p", "--log", "--no-log"], "server migrate": []}
"""


@pytest.mark.parametrize(("name", "flags"), json.loads(PUBLISHED).items())
def test_published_flags_are_there(name: str, flags: list[str]) -> None:
    command: click.Command | None = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert set(flags) <= known
