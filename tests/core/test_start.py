"""Balsam's own programs import nothing from users' folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import balsam
from balsam.core.start import command, safe_path, scripts_path

OWN = str(Path(balsam.__file__).parents[1])
STANDARD = str(Path(os.__file__).parent)
NAMES = ("random", "queue", "select", "logging", "code", "json", "types", "collections", "yaml", "pydantic")


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the script of a user ran')")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "pythonpath"),
    [
        *(("site.agent", text) for text in (None, "", ".", ":/nowhere", "/nowhere:", "FOLDER")),
        *(
            (name, "FOLDER:")
            for name in ("launcher.main", "launcher.worker", "server.main", "server.deployed")
        ),
    ],
)
def test_a_users_file_named_like_a_module_is_not_imported(
    users_folder: Path, module: str, pythonpath: str | None
) -> None:
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    if pythonpath is not None:
        environ["PYTHONPATH"] = pythonpath.replace("FOLDER", str(users_folder))
    words = [*command(f"balsam.{module}"), "--help"]
    done = subprocess.run(words, cwd=users_folder, env=environ, capture_output=True, text=True, check=False)
    assert "the script of a user ran" not in done.stderr
    assert "usage: balsam." in done.stdout or module == "launcher.worker"


def test_the_library_comes_first_then_balsam_then_what_pythonpath_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":/lib/of/user:sub")
    path = [str(tmp_path), "/lib/of/user", str(tmp_path / "sub"), STANDARD, "/else", OWN]
    assert safe_path(path) == [STANDARD, OWN, "/else", "/lib/of/user"]
    assert safe_path(["/lib/of/user", STANDARD, "/else"]) == [STANDARD, "/else", "/lib/of/user"]


def test_a_users_code_finds_what_a_script_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/lib/of/user:sub")
    assert scripts_path([STANDARD, OWN, "/lib/of/user"]) == [
        "/lib/of/user",
        str(tmp_path / "sub"),
        STANDARD,
        OWN,
    ]
    monkeypatch.delenv("PYTHONPATH")
    assert scripts_path([STANDARD, OWN]) == [STANDARD, OWN]


def test_what_is_started_has_an_environment_and_flags_as_ever(tmp_path: Path) -> None:
    """Users' programs inherit both."""
    (tmp_path / "told.py").write_text(
        "import os, sys\ndef main():\n"
        "    main = sys.modules['__main__']\n"
        "    kept = sys.flags.safe_path, 'PYTHONSAFEPATH' in os.environ, hasattr(main, '__file__')\n"
        "    print(sys.argv[1:], *kept)\n"
        "    return 3\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*command("told", sys.executable), "-x"],
        cwd="/",
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "['-x'] False False False\n"), done.stderr
