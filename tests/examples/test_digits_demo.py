"""The demonstration from start to end, with each part of it killed once on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]


class Demo:
    """A demonstration under way, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = folder.with_suffix(".out")
        command = [sys.executable, "-u", "-m", "examples.digits.demo", "--small", "--folder", str(folder)]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def part(self, module: str) -> psutil.Process | None:
        """The live process of this demonstration that runs a module."""
        return next((one for one, runs in self.parts() if runs == module), None)

    def parts(self) -> list[tuple[psutil.Process, str]]:
        """Balsam's processes that work in this folder, each with the module that it runs."""
        return [(one, module) for one in psutil.process_iter() if (module := self._module(one))]

    def _module(self, process: psutil.Process) -> str | None:
        # Read once: a process that was there a moment ago may have ended by the second look.
        try:
            words = process.cmdline()
            site = process.environ().get("BALSAM_SITE_PATH", "")
        except psutil.Error:
            return None
        if str(self.folder) not in " ".join(words) and not site.startswith(str(self.folder)):
            return None
        return next((word for word in words if word.startswith("balsam.")), None)

    def kill(self, module: str) -> None:
        """Kills that part once it is there."""
        found: list[psutil.Process] = []

        def there() -> bool:
            part = self.part(module)
            if part is not None:
                found.append(part)
            return part is not None

        wait_until(there, timeout=60, on_timeout=self.text)
        found[0].kill()

    def text(self) -> str:
        return self.said.read_text()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "demo")
    yield demo
    demo.process.terminate()
    demo.process.wait(60)
    for part, _ in demo.parts():
        part.kill()


def test_the_demonstration_survives_the_death_of_each_part(demo: Demo) -> None:
    for module in ("balsam.launcher.main", "balsam.site.agent", "balsam.server.main"):
        demo.kill(module)
    assert demo.process.wait(240) == 0, demo.text()
    said = demo.text()
    for part in ("winner:", "figure:", "report:", "results:", "node-hours used", "FAILED (`balsam job why "):
        assert part in said
    assert said.count("again") >= 2
    assert (demo.folder / "digits.png").stat().st_size > 5_000
    assert "RankFamily" in (demo.folder / "report.html").read_text()
    assert demo.parts() == []


def test_an_interrupted_demonstration_leaves_nothing_running(demo: Demo) -> None:
    wait_until(lambda: demo.part("balsam.launcher.main"), timeout=60, on_timeout=demo.text)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(60) == 130
    assert demo.parts() == []
