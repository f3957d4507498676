"""The demonstration on a private Slurm for real, from an empty folder; nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from balsam.client.login import load_login
from balsam.client.transport import Client
from examples.slurm.campaign import MISTAKES, SMALL
from examples.slurm.cluster import DAEMONS
from examples.stack import Stack
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_SEC = 280


class Demo:
    """A demonstration under way, in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.slurm = str(folder / "slurm")  # or where that leads
        self.said = folder.with_suffix(".out")
        command = [sys.executable, "-u", "-m", "examples.slurm.demo", "--small", "--folder", str(folder)]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def text(self) -> str:
        return self.said.read_text()

    def left(self) -> list[str]:
        """The demonstration's processes: those that work in its folder or for its Slurm."""
        link = self.folder / "slurm"
        if link.is_symlink():
            self.slurm = str(link.readlink())
        return [told for one in psutil.process_iter() if (told := self._told(one))]

    def daemons(self) -> int:
        return sum(told.startswith(DAEMONS) for told in self.left())

    def _told(self, process: psutil.Process) -> str:
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            return ""
        own = any(place in word for place in (str(self.folder), self.slurm) for word in words)
        return f"{process.name()} {words[:6]}" if own and process.pid != self.process.pid else ""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "d")
    yield demo
    demo.process.terminate()
    demo.process.wait(120)


def records(folder: Path, *routes: str) -> list[list[dict[str, Any]]]:
    stack = Stack(folder)
    stack.start_server()
    try:
        login = load_login(stack.login)
        assert login is not None
        with Client(login.api_root, login.token) as client:
            return [client.get(route)["results"] for route in routes]
    finally:
        stack.stop()


def test_a_campaign_ends_and_its_allocations_tell_why_they_ended(demo: Demo) -> None:
    wait_until(lambda: "Submitted" in demo.text() and demo.daemons() > 16, 120, demo.text)
    assert demo.process.wait(TIMEOUT_SEC) == 0, demo.text()
    assert demo.left() == []
    said = demo.text()
    assert "node-hours used" in said and (demo.folder / "slurm.png").stat().st_size > 5_000
    jobs, allocations = records(demo.folder, "/jobs/", "/batch-jobs/")
    failed = [job for job in jobs if job["state"] == "FAILED"]
    assert len(failed) == len(MISTAKES), failed
    assert len(jobs) == SMALL.magnets + SMALL.replicas + len(MISTAKES)
    assert {job["state"] for job in jobs} == {"FAILED", "JOB_FINISHED"}
    ranks = [job["data"] for job in jobs if "ranks" in job["data"]]
    assert len(ranks) == SMALL.replicas and {(one["ranks"], len(one["nodes"])) for one in ranks} == {(4, 2)}
    causes = [one["cause"].partition(":")[0] for one in allocations]
    assert sorted(causes) == ["cancelled outside of Balsam", "exit 0", "exit 0", "exit 0", "preempted"]
    for cause in causes:
        assert cause.split()[0] in said


def test_an_interrupted_demonstration_leaves_no_slurm_running(demo: Demo) -> None:
    wait_until(lambda: "Submitted" in demo.text() and demo.daemons() > 16, 120, demo.text)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(120) == 130, demo.text()
    assert demo.left() == []


def test_without_slurm_it_says_what_to_install(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "d", {"PATH": str(tmp_path)})
    assert demo.process.wait(60) == 1
    said = demo.text()
    assert "apt-get install slurm-wlm munge" in said and "`make machines`" in said
    assert not demo.folder.exists()
