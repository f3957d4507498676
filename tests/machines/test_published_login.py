"""The published client logs in by device code at a certified provider."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from tests.machines.terminal import Terminal
from tests.machines.visitor import Visitor
from tests.published import release
from tests.services import PasswordServer
from tests.waiting import wait_until

ADDRESS = re.compile(r"navigate to: (\S+)\s")


def test_the_published_client_logs_in_by_device_code(
    institute: PasswordServer, visitor: Visitor, tmp_path: Path
) -> None:
    published = release.published()
    program, file = published.python.parent / "balsam", tmp_path / "client.yml"
    environment = published.environment(HOME=str(tmp_path), BALSAM_CLIENT_PATH=str(file), TERM="dumb")
    with Terminal([program, "login", "--url", institute.url, "--force"], environment) as login:
        wait_until(lambda: bool(ADDRESS.search(login.text)), timeout=60, on_timeout=lambda: login.text)
        visitor.open(ADDRESS.findall(login.text)[0])
        visitor.log_in("margaret")
        visitor.submit(answer="allow")
        assert login.process.wait(60) == 0, login.text
    assert yaml.safe_load(file.read_text())["token"].startswith("bl_")
    listed = subprocess.run([program, "site", "ls"], env=environment, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
