"""A stall is no death: who hangs in a filesystem, or was stopped within a lease, loses and repeats nothing.

Leases are of 4 s here, and stalls last as long in proportion as those of 60 to 300 s do with leases of 60 s.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from balsam.sdk.application import ApplicationDefinition
from tests.faulty_files import FaultyFiles
from tests.launcher.pilot import Pilot
from tests.launcher.virtual_nodes import VirtualNodes
from tests.waiting import wait_until

LEASE_SEC = 4.0
WITHIN_LEASE_SEC = 1.5


def starts(pilot: Pilot, job_id: int) -> int:
    """How often a job has really been started."""
    path = pilot.site.data_path / pilot.row(job_id)["workdir"] / "starts"
    return len(path.read_text().splitlines())


def check_each_ran_once(pilot: Pilot, ids: Sequence[int]) -> None:
    assert {row["state"] for row in pilot.wait_done(ids, 60)} == {"JOB_FINISHED"}, pilot.told(ids)
    assert {pilot.walk(job).count("RUNNING") for job in ids} == {1}
    assert {starts(pilot, job) for job in ids} == {1}


class Wait(ApplicationDefinition):
    def run(self, sec: float) -> float:
        import time
        from pathlib import Path

        with Path("starts").open("a") as file:
            file.write("start\n")
        time.sleep(sec)
        return sec


def running_jobs(pilot: Pilot, sec: float) -> list[int]:
    """Jobs whose runs last so long, one of them a function."""
    command = pilot.command(f"echo start >> starts; sleep {sec}")
    ids = pilot.submit(command, 2, node_packing_count=4)
    return ids + pilot.submit(pilot.app_id(Wait), parameters_json={"sec": sec}, node_packing_count=4)


@pytest.mark.parametrize("mode", ["serial", "mpi", "workers"])
@pytest.mark.parametrize("sec", [1.0, 7.0])
def test_stalled_site_costs_no_run(brief: Pilot, tmp_path: Path, mode: str, sec: float) -> None:
    files = FaultyFiles(brief.site.path, tmp_path)
    environment = dict(files.environment)
    if mode == "workers":
        brief.set("launcher", compute_node="pbs")
        nodes = VirtualNodes(tmp_path / "nodes", ["nid0001", "nid0002"])
        environment |= nodes.environment
    ids = running_jobs(brief, 4)
    if mode == "mpi":
        brief.set("launcher", mpirun_allows_node_packing=True)
    brief.launch(mode="mpi" if mode == "mpi" else "serial", environment=environment)
    brief.wait_state(ids, "RUNNING")
    wait_until(
        lambda: all((brief.site.data_path / row["workdir"] / "starts").exists() for row in brief.rows(ids))
    )
    later = brief.submit(brief.command("echo start >> starts"), 5, node_packing_count=4)
    with files.stall():
        time.sleep(sec)
    check_each_ran_once(brief, ids + later)


def test_launcher_that_is_stopped_within_its_lease_reports_what_ended_meanwhile(brief: Pilot) -> None:
    ids = running_jobs(brief, 2)
    launcher = brief.launch()
    brief.wait_state(ids, "RUNNING")
    os.kill(launcher.pid, signal.SIGSTOP)
    time.sleep(WITHIN_LEASE_SEC)
    os.kill(launcher.pid, signal.SIGCONT)
    check_each_ran_once(brief, ids)


def test_what_ended_well_before_the_guard_killed_the_rest_is_not_run_again(own_pilot: Pilot) -> None:
    short = running_jobs(own_pilot, 0.5)
    [long] = own_pilot.submit(
        own_pilot.command("echo start >> starts; [ $(wc -l < starts) -gt 1 ] || sleep 30"),
        node_packing_count=4,
    )
    launcher = own_pilot.launch()
    own_pilot.wait_state([long], "RUNNING")
    wait_until(
        lambda: all(
            (own_pilot.site.data_path / r["workdir"] / "starts").exists() for r in own_pilot.rows(short)
        )
    )
    os.kill(launcher.pid, signal.SIGSTOP)
    path = own_pilot.site.data_path / own_pilot.row(long)["workdir"]
    wait_until(lambda: not _works_in(path), 10)
    os.kill(launcher.pid, signal.SIGCONT)
    check_each_ran_once(own_pilot, short)
    own_pilot.wait_done([long])
    assert own_pilot.walk(long).count("RUNNING") == 2 and starts(own_pilot, long) == 2


def _works_in(folder: Path) -> bool:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink() == folder and b"sleep" in (process / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


def test_guard_that_is_killed_from_outside_costs_nothing(brief: Pilot) -> None:
    ids = running_jobs(brief, 4)
    launcher = brief.launch()
    brief.wait_state(ids, "RUNNING")
    [guard] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _is_guard_of(launcher.pid, path)
    ]
    os.kill(guard, signal.SIGKILL)
    check_each_ran_once(brief, ids)


def _is_guard_of(owner: int, line: Path) -> bool:
    try:
        parent = int((line.parent / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == owner and b"guard.py" in line.read_bytes()
    except OSError:
        return False
