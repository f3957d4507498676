"""Other people's programs that run many small tasks, each in an environment of its own below this folder.

An environment is made on first use, which needs a package index within reach. What is measured is in
`peer_scripts`: each is run by its peer's own interpreter and prints one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUN_TIMEOUT_SEC = 600.0


class PeerMissing(Exception):
    """A peer that can't be measured here; the sentence says why."""


@dataclass(frozen=True)
class Peer:
    """`title`: as its makers write it; `package`: as the package index knows it."""

    name: str
    title: str
    package: str
    home: Path = HERE

    @property
    def folder(self) -> Path:
        return self.home / f".venv-peers-{self.name}"

    @property
    def is_installed(self) -> bool:
        return (self.folder / ".installed").exists()

    def interpreter(self) -> Path:
        """Of its environment, which is made if it is missing; raises PeerMissing."""
        python = self.folder / "bin" / "python"
        if not self.is_installed:
            print(f"installing {self.package} into {self.folder} ...", file=sys.stderr, flush=True)
            # Without a pip of its own, which would take as long as all else: this one's installs into it.
            _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(self.folder)], self.name)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
            _run([*pip, "-q", "install", self.package], self.name)
            (self.folder / ".installed").touch()
        return python

    def measure(self, what: str, count: int, folder: Path) -> dict[str, Any]:
        """What its script prints of `count` tasks that work below `folder`; raises PeerMissing."""
        script = HERE / "peer_scripts" / f"with_{self.name}.py"
        printed = _run([str(self.interpreter()), str(script), what, str(count), str(folder)], self.name)
        told: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return told


PEERS = {
    peer.name: peer
    for peer in (
        Peer("hyperqueue", "HyperQueue", "hyperqueue"),
        Peer("parsl", "Parsl", "parsl"),
        Peer("dask", "Dask", "dask[distributed]"),
    )
}


def _run(command: list[str], name: str) -> str:
    """What a command prints; raises PeerMissing with the end of what it said."""
    # Peers look for programs of their own beside their interpreter.
    environment = {**os.environ, "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=RUN_TIMEOUT_SEC, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise PeerMissing(f"{name}: {command[1]} took longer than {RUN_TIMEOUT_SEC:.0f} s") from exc
    if done.returncode != 0:
        raise PeerMissing(f"{name}: {' '.join(command[:4])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
