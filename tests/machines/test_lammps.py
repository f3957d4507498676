"""The LAMMPS ensemble for real, from an empty folder; what Balsam knows of it is compared with its logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from balsam.client.login import load_login
from balsam.client.transport import Client
from examples.stack import Stack

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_SEC = 280


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def demonstrate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.lammps.demo", "--small", "--folder", str(folder), *options]
    return subprocess.run(
        command,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SEC,
        check=False,
    )


def jobs_of(folder: Path) -> list[dict[str, Any]]:
    stack = Stack(folder)
    stack.start_server()
    try:
        login = load_login(stack.login)
        assert login is not None
        with Client(login.api_root, login.token) as client:
            rows: list[dict[str, Any]] = client.get("/jobs/")["results"]
            return rows
    finally:
        stack.stop()


def words_of(log: str, beginning: str) -> list[str]:
    """Of the only line that begins so."""
    (line,) = [line for line in log.splitlines() if line.startswith(beginning)]
    return line.split()


def last_row(log: str) -> dict[str, str]:
    lines = log.splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("Loop time"))
    heading = next(line for line in lines if line.startswith("Step "))
    return dict(zip(heading.split(), lines[end - 1].split(), strict=True))


def test_ensemble_runs_and_its_jobs_hold_what_their_logs_say(folder: Path) -> None:
    done = demonstrate(folder)
    assert done.returncode == 0, done.stdout
    jobs = jobs_of(folder)
    assert len(jobs) == 10 and {job["state"] for job in jobs} == {"JOB_FINISHED"}
    for job in jobs:
        log = (folder / "site" / "data" / job["workdir"] / "log.lammps").read_text()
        data, loop, row = job["data"], words_of(log, "Loop time"), last_row(log)
        assert data["timesteps_per_sec"] == float(words_of(log, "Performance:")[-2])
        assert [data["ranks"], data["steps"], data["atoms"]] == [2, int(loop[8]), int(loop[11])]
        assert (data["temperature"], data["energy"]) == (float(row["Temp"]), float(row["TotEng"]))
        (shown,) = [
            line for line in done.stdout.splitlines() if line.startswith(f"│ {job['tags']['member']} ")
        ]
        assert f" {data['timesteps_per_sec']:.1f} " in shown
    (hasty,) = [job for job in jobs if job["tags"]["member"] == "hasty"]
    assert "lost atoms" in hasty["data"]["mended"]
    assert "hasty was started again" in done.stdout and "node-hours used" in done.stdout
    assert (folder / "lammps.png").stat().st_size > 5_000


def test_without_inputs_it_says_what_to_install(folder: Path) -> None:
    done = demonstrate(folder, "--inputs", str(folder / "none"))
    assert done.returncode == 1
    assert "apt-get install lammps lammps-examples" in done.stdout
    assert not folder.exists()
