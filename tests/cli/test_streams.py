"""Odd terminals and pipes: closed streams, other alphabets, no reader, no home; never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.client.login import Login, save_login
from tests.client.test_stream import make_job
from tests.services import User

BALSAM = f"exec {sys.executable} -m balsam.cli.main"
COMMANDS = ["--help", "job ls", "job ls --json", "job why 1", "job ls --id 999999", "nonsense"]
BAD = ("Traceback", "unforeseen", "Exception ignored")


@pytest.fixture
def environment(user: User, tmp_path: Path) -> dict[str, str]:
    """Of somebody who has a job with a name that not all alphabets have."""
    make_job(user.client, "größe ✓")
    save_login(Login(user.client.api_root, user.token), tmp_path / "client.yml")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return {**kept, "BALSAM_CLIENT_PATH": str(tmp_path / "client.yml"), "HOME": str(tmp_path)}


def shell(words: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", words], cwd=cwd, env=environment, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "changes"),
    [
        (">&-", {}),
        ("2>&-", {}),
        ("<&-", {}),
        (">&- 2>&- <&-", {}),
        ("", {"PYTHONIOENCODING": "latin-1"}),
        ("", {"PYTHONIOENCODING": "ascii:strict"}),
        ("", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        ("", {"LC_ALL": "POSIX", "TERM": "dumb"}),
        ("> /dev/full", {}),
        ("2>&1 | true", {}),
    ],
)
def test_no_command_shows_a_traceback(
    environment: dict[str, str], tmp_path: Path, redirection: str, changes: dict[str, str]
) -> None:
    for command in COMMANDS if redirection in ("", ">&-") else COMMANDS[1:4]:
        done = shell(f"{BALSAM} {command} {redirection}", {**environment, **changes}, tmp_path)
        told = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert not any(word in told for word in BAD), (command, told)
        assert done.returncode in (0, 1, 2), (command, done.returncode)


def test_what_was_typed_reaches_the_server_in_a_locale_without_its_letters(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The kind: bytes that the locale can't read, on their way into a request or the name of a file."""
    strict = {**environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell(f"{BALSAM} job ls -w größe --json --columns workdir", strict, tmp_path)
    assert [one["workdir"] for one in json.loads(done.stdout)] == ["größe ✓"]
    assert shell(f"{BALSAM} report -o größe.json --title größe", strict, tmp_path).returncode == 0
    assert json.loads((tmp_path / "größe.json").read_text(encoding="utf-8"))["title"] == "größe"
    for locale in (strict, {**environment, "LC_ALL": "C.UTF-8"}):
        done = shell(f"{BALSAM} job ls -w $'\\xe9'", locale, tmp_path)
        assert done.returncode == 2 and b"holds bytes that are no UTF-8" in done.stderr


def test_a_full_device_is_told_of_by_name(environment: dict[str, str], tmp_path: Path) -> None:
    """The kind: an error of the system that names neither the file nor the stream that it is about."""
    for words, name in (
        ("--help > /dev/full", "standard output"),
        ("job ls > /dev/full", "standard output"),
        ("report -f csv > /dev/full", "standard output"),
        ("report -o /dev/full -f html", "/dev/full"),
    ):
        done = shell(f"{BALSAM} {words}", environment, tmp_path)
        assert done.stderr.decode() == f"Error: {name}: No space left on device\n" and done.returncode == 1
    assert shell(f"{BALSAM} nonsense 2> /dev/full", environment, tmp_path).returncode == 1


def test_a_folder_that_was_removed_is_told_of(environment: dict[str, str], tmp_path: Path) -> None:
    """The kind: an error of the system that names no file."""
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; {BALSAM} job ls", environment, tmp_path)
    assert done.stderr.decode() == (
        "Error: the folder that this runs in was removed: change into another one\n"
    )


def test_characters_that_a_terminal_lacks_are_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    done = shell(f"{BALSAM} job ls", {**environment, "PYTHONIOENCODING": "latin-1"}, tmp_path)
    assert "größe ?".encode("latin-1") in done.stdout and done.returncode == 0


def test_a_user_without_a_home_is_told_so(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["BALSAM_CLIENT_PATH"]
    words = (
        "import os; os.environ['HOME'] = ''; import pwd\n"
        "from balsam.client.login import home, login_path\n"
        "assert str(home()) == pwd.getpwuid(os.getuid()).pw_dir + '/.balsam', home()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
