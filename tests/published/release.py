"""Runs programs with the published release of Balsam, in its own environment, or with this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.services import User

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-published"
SCRIPTS = Path(__file__).parent / "scripts"
TIMEOUT_SEC = 90


class NotInstalled(Exception):
    """The environment of the published release is not there."""


@dataclass(frozen=True)
class Release:
    """An interpreter that imports one release of Balsam, and the folder of its programs."""

    name: str
    python: Path
    package_path: str = ""

    def environment(self, **variables: str) -> dict[str, str]:
        """That of a user's shell, without what the tests' own process has of Balsam."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BALSAM_", "PYTHON"))}
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": self.package_path} if self.package_path else {}
        return kept | own | {"PATH": path} | variables


@dataclass(frozen=True)
class Account:
    """A user of the server with a home folder, who works with either release."""

    user: User
    home: Path

    @property
    def login(self) -> Path:
        return self.home / "client.yml"

    def log_in(self, url: str) -> None:
        """Writes the login file of the published client; it shall ask once, whatever is answered."""
        said = {
            "api_root": url,
            "client_class": "balsam.client.requests_password.BasicAuthRequestsClient",
            "token": self.user.token,
            "token_expiry": None,
            "connect_timeout": 6.2,
            "read_timeout": 120.0,
            "retry_count": -1,
        }
        self.login.write_text(yaml.safe_dump(said))
        self.login.chmod(0o600)

    def run(self, release: Release, *arguments: str | Path, cwd: Path | None = None, typed: str = "") -> str:
        """What a program of the release prints; a failure shows all that it said.

        Into a file: an agent of the published release keeps its starter's output open for good.
        """
        variables = {"HOME": str(self.home), "BALSAM_CLIENT_PATH": str(self.login)}
        with tempfile.TemporaryFile("w+") as said:
            status = subprocess.run(
                [str(argument) for argument in arguments],
                env=release.environment(**variables),
                cwd=cwd or self.home,
                input=typed,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_SEC,
            ).returncode
            said.seek(0)
            text = said.read()
        assert status == 0, f"{arguments} failed:\n{text[-6000:]}"
        return text

    def script(self, release: Release, name: str | Path, *arguments: str | Path, **options: Any) -> Any:
        """The JSON that a script of `scripts/`, or of another folder, prints on its last line."""
        said = self.run(release, release.python, SCRIPTS / name, *arguments, **options)
        return json.loads(said.splitlines()[-1])

    def balsam(self, release: Release, *arguments: str | Path, **options: Any) -> str:
        """What the command line prints."""
        program = [release.python, "-m", "balsam.cli.main"] if release.package_path else ["balsam"]
        return self.run(release, *program, *arguments, **options)


def published() -> Release:
    """The published release; raises NotInstalled with the remedy."""
    if not (VENV / ".installed").exists():
        raise NotInstalled(f"{VENV} is not there or not complete: `make venv-published` makes it")
    return Release("published", VENV / "bin" / "python")


def ours() -> Release:
    """This release."""
    return Release("ours", Path(sys.executable), str(ROOT / "src"))
