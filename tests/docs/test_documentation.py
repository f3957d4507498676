"""What the documentation shows works: its commands and scripts are run in an empty home, in their order.

In `console` blocks, lines with `$ ` are commands; lines below are expected in what the command says. A
`python` block is a file with the name in its first line. Lines of `sh` blocks that call make are checked by
`make --dry-run`; the other `sh` lines fetch the project itself.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.logic import reasons
from balsam.platform.schedulers.local import LocalScheduler
from tests.services import PostgresServer

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
TIMEOUT_SEC = 300


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of each fenced block."""
    return BLOCK.findall(page.read_text())


def script(page: Path) -> str:
    """A bash script that does what a reader of the page does; ends at the first command that fails."""
    lines = ["set -eu"]
    for kind, text in blocks(page):
        if kind == "python":
            name = text.splitlines()[0].removeprefix("# ")
            lines.append(f"cat > {shlex.quote(name)} <<'END_OF_FILE'\n{text}END_OF_FILE")
        elif kind == "console":
            lines += [_checked(command, expected) for command, expected in commands(text)]
    return "\n".join(lines) + "\n"


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines that are shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, expected


def _checked(command: str, expected: list[str]) -> str:
    tell = f"echo; echo {shlex.quote('$ ' + command)}"
    if command.startswith("cd "):
        return f"{tell}; {command}"
    checks = [f'grep -qF -- {shlex.quote(line)} "$HOME/said"' for line in expected]
    return "\n".join(
        [
            f'{tell}; {command} > "$HOME/said" 2>&1 || {{ cat "$HOME/said"; exit 1; }}',
            'cat "$HOME/said"',
            *checks,
        ]
    )


@pytest.fixture
def reader(tmp_path: Path, postgres: PostgresServer) -> Iterator[dict[str, str]]:
    """The environment of somebody who has just installed Balsam; nothing of theirs runs afterwards."""
    path = f"{Path(sys.executable).parent}:{postgres.bin}:{os.environ['PATH']}"
    environment = {"HOME": str(tmp_path), "PATH": path, "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    environment["BALSAM_DATABASE_URL"] = postgres.new_database().replace("+psycopg", "")
    yield environment
    subprocess.run(["balsam", "server", "down", "-p", "server"], cwd=tmp_path, env=environment, check=False)
    for site in tmp_path.glob("*/.balsam-site"):
        subprocess.run(["balsam", "site", "stop"], cwd=site.parent, env=environment, check=False)
        allocations = LocalScheduler(site.parent / "qsubmit" / "local")
        for allocation in allocations.active().values():
            allocations.delete(allocation, politely=True)
    subprocess.run(["balsam", "server", "stop"], cwd=tmp_path, env=environment, check=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_scripts_work(page: Path, reader: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", script(page)],
        cwd=tmp_path,
        env=reader,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SEC,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_known_kind(page: Path) -> None:
    assert {kind for kind, _ in blocks(page)} <= {"console", "python", "sh", "yaml", "text"}


def test_make_targets_that_are_shown_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    targets = set(re.findall(r"\bmake ([a-z-]+)\b", text)) & {
        "demo",
        "lammps",
        "test",
        "check",
        "clean",
        "machines",
        "test-machines",
    }
    assert {"demo", "lammps", "test", "check"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=PROJECT, check=True, capture_output=True)


def test_every_reason_that_the_server_can_give_is_explained() -> None:
    sources = [path.read_text() for path in sorted((PROJECT / "src/balsam/logic").glob("*.py"))]
    codes = {code for text in sources for code in re.findall(r'Why\(\s*"(\w+)"', text)}
    codes |= {f"no_fit_{word}" for word in reasons.REMEDIES}
    page = (PROJECT / "docs/why.md").read_text()
    assert {code for code in codes if f"`{code}`" not in page} == set()
    assert {"no_agent", "no_fit_gpus", "launcher_silent"} <= codes


def test_decisions_have_numbers_of_their_own() -> None:
    """Two that were written at the same time are told apart, and each knows its number."""
    pages = sorted((PROJECT / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name.split("-")[0]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text().startswith(f"# {number}. ")
