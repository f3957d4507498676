"""`balsam server open`: a browser comes in without a secret on a command line."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.server import daemon
from tests.cli.conftest import Balsam
from tests.server.visits import Visit
from tests.waiting import wait_until


@pytest.fixture
def own(balsam: Balsam, home: Path) -> Iterator[daemon.ServerStatus]:
    balsam("server", "start")
    data = home / ".balsam" / "server"
    yield daemon.status(data)
    daemon.stop(data)


def fields(page: Path) -> dict[str, str]:
    """What the form of a page sends, and where to."""
    found = re.search(r'action="([^"]+)".*name="code" value="([^"]+)"', page.read_text())
    assert found is not None
    return {"address": found[1], "code": found[2]}


def test_the_browser_is_given_a_private_page_and_no_secret(own: daemon.ServerStatus, home: Path) -> None:
    browser, asked = home / "browser", home / "asked"
    browser.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    browser.chmod(0o700)
    environment = {**os.environ, "BROWSER": str(browser), "HOME": str(home)}
    command = [str(Path(sys.executable).with_name("balsam")), "server", "open"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    wait_until(asked.exists)
    page = own.data / "open.html"
    form = fields(page)
    assert asked.read_text().strip() == page.as_uri() and form["code"] in said
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert own.url is not None and form["address"] == f"{own.url}/ui/enter"
    with Visit(own.url) as visit:
        assert (
            visit.http.post("/ui/enter", data={"code": form["code"]}, headers={"origin": "null"}).status_code
            == 303
        )
        assert "Overview" in visit.page("/ui/")
        assert visit.http.post("/ui/enter", data={"code": form["code"]}).status_code == 401


def test_without_a_browser_it_says_what_to_type(balsam: Balsam, own: daemon.ServerStatus) -> None:
    said = balsam("server", "open", "--no-browser")
    found = re.search(r"open (\S+) and type the code (\S+),", said.out)
    assert said.status == 0 and found is not None and own.url is not None
    with Visit(own.url) as visit:
        assert visit.http.post("/ui/enter", data={"code": found[2]}).status_code == 303


def test_without_a_server_it_says_how_to_start_one(balsam: Balsam) -> None:
    said = balsam("server", "open")
    assert said.status == 1 and "balsam server start" in said.err
