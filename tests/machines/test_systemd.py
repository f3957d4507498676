"""The unit that a facility installs, read by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program is not None, "there is no systemd-analyze: run `make machines`"
    unit = tmp_path / "balsam.service"
    text = (DEPLOY / "balsam.service").read_text()
    unit.write_text(text.replace("/opt/balsam/bin/balsam", sys.executable))
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
