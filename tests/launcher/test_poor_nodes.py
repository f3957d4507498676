"""A node's fault is never a job's: full disks, quotas, dead file servers, processes that outsiders kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.launcher.executor import NodeShort, NotStartable, unstarted
from balsam.launcher.room import MOST_REFUSALS, Room
from balsam.runtime.memory_kills import count_in
from balsam.sdk.application import ApplicationDefinition
from tests.faulty_files import FaultyFiles
from tests.launcher.pilot import Pilot
from tests.launcher.test_room import nodes
from tests.launcher.test_why import allocation, why
from tests.waiting import wait_until

THE_NODES = [
    "EAGAIN",
    "ENOMEM",
    "EMFILE",
    "ENFILE",
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "EIO",
    "ESTALE",
    "EREMOTEIO",
    "ETIMEDOUT",
    "ENOTCONN",
]


class Answer(ApplicationDefinition):
    def run(self) -> int:
        return 42


class Linger(ApplicationDefinition):
    """Says which process it is, and ends at once when it is called again."""

    def run(self) -> int:
        import os
        import time
        from pathlib import Path

        again = Path("pid").exists()
        Path("pid.draft").write_text(str(os.getpid()))
        Path("pid.draft").rename("pid")
        time.sleep(0 if again else 600)
        return 1


class KillsItself(ApplicationDefinition):
    def run(self) -> int:
        import os

        os.kill(os.getpid(), 9)
        return 1


@pytest.mark.parametrize("name", THE_NODES)
def test_what_a_node_lacks_is_no_fault_of_the_job(name: str) -> None:
    assert isinstance(unstarted(OSError(getattr(errno, name), "so"), "can't"), NodeShort)


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "ENOTDIR", "ENAMETOOLONG", "E2BIG"])
def test_what_the_job_asked_for_is_its_own(name: str) -> None:
    assert isinstance(unstarted(OSError(getattr(errno, name), "so"), "can't"), NotStartable)


@pytest.mark.parametrize("is_function", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ESTALE])
def test_full_disk_keeps_jobs_waiting_and_fails_none(
    pilot: Pilot, tmp_path: Path, is_function: bool, number: int
) -> None:
    files = FaultyFiles(pilot.site.data_path, tmp_path)
    app = pilot.app_id(Answer) if is_function else pilot.command("true")
    batch_job = allocation(pilot)
    pilot.launch("--batch-job", str(batch_job), environment=files.environment)
    pilot.wait_done(pilot.submit(app))
    with files.failing(number):
        ids = pilot.submit(app, 6)
        wait_until(lambda: "node_trouble" in {why(pilot, job)[0] for job in ids}, 20, lambda: pilot.told(ids))
        sentence = next(told for code, told in (why(pilot, job) for job in ids) if code == "node_trouble")
        assert os.strerror(number) in sentence and "tried again" in sentence
        assert os.strerror(number) in pilot.client.get(f"/batch-jobs/{batch_job}/why")["sentence"]
    assert {row["state"] for row in pilot.wait_done(ids, 60)} == {"JOB_FINISHED"}
    assert not {state for job in ids for state in pilot.walk(job)} & {"FAILED", "RUN_ERROR"}
    wait_until(lambda: "But" not in pilot.client.get(f"/batch-jobs/{batch_job}/why")["sentence"])


def test_launcher_that_can_not_write_its_log_says_so_in_one_sentence(pilot: Pilot) -> None:
    """Kind: what a program needs before it begins, on a disk that fails; the allocation's output tells."""
    pilot.site.log_path.rename(pilot.site.log_path.with_name("earlier"))
    pilot.site.log_path.touch()
    done = subprocess.run(
        [sys.executable, "-m", "balsam.launcher.main", "-j", "serial", "-t", "1"],
        env={**os.environ, "BALSAM_SITE_PATH": str(pilot.site.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    told = done.stderr.strip()
    assert told.startswith("balsam launcher: the site's folder can't be used: Not a directory (")
    assert "\n" not in told


def test_run_whose_worker_is_killed_from_outside_runs_again(pilot: Pilot) -> None:
    [job] = pilot.submit(pilot.app_id(Linger))
    pilot.launch()
    pid = pilot.site.data_path / pilot.row(job)["workdir"] / "pid"
    wait_until(pid.exists)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert [row["state"] for row in pilot.wait_done([job])] == ["JOB_FINISHED"]
    [told] = [event["data"] for event in pilot.events(job) if event["to_state"] == "RUN_TIMEOUT"]
    assert "killed from outside, by signal 9" in told["message"]


def test_run_that_kills_itself_again_and_again_fails(pilot: Pilot) -> None:
    [job] = pilot.submit(pilot.app_id(KillsItself))
    other = pilot.submit(pilot.app_id(Answer))
    pilot.launch()
    rows = pilot.wait_done([job, *other])
    assert [row["state"] for row in rows] == ["FAILED", "JOB_FINISHED"]
    assert pilot.walk(job).count("RUNNING") == 3


def test_kernels_own_count_of_kills_for_memory() -> None:
    assert count_in("low 0\nhigh 0\noom 4\noom_kill 3\noom_group_kill 0\n") == 3
    assert count_in("nr_free_pages 1\noom_kill 17\n") == 17
    assert count_in("nothing of the kind\n") == 0


def test_a_poor_node_gets_one_run_at_a_time_and_is_given_up_after_many() -> None:
    [only] = nodes(1)
    room, now = Room([only]), 0.0
    for _ in range(MOST_REFUSALS):
        assert not room.hopeless
        room.rest([only.name], now)
        assert len(room) == 0 and room.failing == [only.name]
        now += 61.0
        room.wake(now)
        assert len(room) == 1
    assert room.hopeless == [only.name]
