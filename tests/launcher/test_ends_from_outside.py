"""Ends that a batch system causes are not the programs' own: signals to all processes of an allocation."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from subprocess import Popen

import pytest

from balsam.launcher.doubtful_ends import DOUBT_SEC, DoubtfulEnds
from balsam.launcher.reports import Ending
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.launcher.test_several_nodes import with_several_nodes, workers_of
from tests.services import User
from tests.waiting import wait_until


def kill_runs(command: str, count: int) -> None:
    pids = processes_with(command)
    assert len(pids) >= count
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # ended with its MPI launcher
            os.kill(pid, signal.SIGTERM)


def all_at_once(launcher: Popen[bytes], command: str, count: int, number: signal.Signals) -> None:
    """Ends runs and launcher as `scancel` does; the launcher comes last to see anything of it."""
    launcher.send_signal(signal.SIGSTOP)
    kill_runs(command, count)
    wait_until(lambda: not _sleeping(command))
    launcher.send_signal(number)
    launcher.send_signal(signal.SIGCONT)


def _sleeping(command: str) -> list[int]:
    """Without those that have ended, and wait for the launcher to look after them."""
    alive = []
    for pid in processes_with(command):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        alive += [pid] if state != "Z" else []
    return alive


@pytest.mark.parametrize("mode", ["serial", "mpi"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGXCPU])
def test_an_allocation_that_is_ended_fails_no_job_and_starts_none(
    pilot: Pilot, number: signal.Signals, mode: str
) -> None:
    command = long_sleep()
    app = pilot.command(command)
    running, waiting = pilot.submit(app), pilot.submit(app, 2)
    launcher = pilot.launch(mode=mode)
    pilot.wait_state(running, "RUNNING")
    all_at_once(launcher, command, 1, number)
    assert launcher.wait(60) == 0
    assert pilot.walk(running[0])[-2:] == ["RUN_TIMEOUT", "RESTART_READY"]
    assert number.name in pilot.events(running[0])[-2]["data"]["message"]
    assert all("RUNNING" not in pilot.walk(job) for job in waiting)


def test_programs_that_turn_the_signal_into_a_code_of_their_own(pilot: Pilot) -> None:
    """Within a batch system's allocation any failure of that moment is doubtful: MPI launchers do so."""
    command = f"trap 'kill $!; exit 1' TERM; {long_sleep()} & wait"
    [job] = pilot.submit(pilot.command(command))
    launcher = pilot.launch(environment={"SLURM_JOB_ID": "17"})
    pilot.wait_state([job], "RUNNING")
    all_at_once(launcher, command.split("; ")[-1].split(" &")[0], 1, signal.SIGTERM)
    assert launcher.wait(60) == 0
    assert pilot.walk(job)[-2:] == ["RUN_TIMEOUT", "RESTART_READY"]


def test_a_run_that_is_killed_alone_fails_and_its_place_is_kept_meanwhile(pilot: Pilot) -> None:
    command = long_sleep()
    app = pilot.command(command)
    [killed], [next_one] = pilot.submit(app), pilot.submit(pilot.command("true"))
    pilot.launch()
    pilot.wait_state([killed], "RUNNING")
    kill_runs(command, 1)
    pilot.wait_done([killed, next_one])
    assert pilot.walk(killed)[-2:] == ["RUN_ERROR", "FAILED"]
    at = {
        (event["job_id"], event["to_state"]): datetime.fromisoformat(event["timestamp"])
        for job in (killed, next_one)
        for event in pilot.events(job)
    }
    waited = at[next_one, "RUNNING"] - at[killed, "RUN_ERROR"]
    assert waited.total_seconds() >= DOUBT_SEC - 0.1


def test_a_killed_job_is_still_killed_by_its_user_while_its_end_is_in_doubt(pilot: Pilot) -> None:
    command = long_sleep()
    [job] = pilot.submit(pilot.command(command))
    pilot.launch()
    pilot.wait_state([job], "RUNNING")
    kill_runs(command, 1)
    pilot.client.delete(f"/jobs/{job}")
    [following] = pilot.submit(pilot.command("true"))
    assert pilot.wait_done([following])[0]["state"] == "JOB_FINISHED"


def test_a_node_whose_worker_is_told_to_end_fails_no_job(
    tmp_path: Path, new_user: Callable[[], User]
) -> None:
    """A job step, or one node, is ended from outside: its runs go back, those elsewhere go on."""
    pilot = Pilot(tmp_path / "site", new_user().client)
    try:
        environment = with_several_nodes(pilot, tmp_path)
        command = long_sleep()
        jobs = pilot.submit(pilot.command(command), 3)
        pilot.launch(environment=environment)
        pilot.wait_state(jobs, "RUNNING")
        worker = workers_of(pilot)[0]
        os.kill(worker, signal.SIGTERM)
        pids = [pid for pid in processes_with(command) if _is_below(pid, worker)]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: any("RUN_TIMEOUT" in pilot.walk(job) for job in jobs), 20)
        [cut] = [job for job in jobs if "RUN_TIMEOUT" in pilot.walk(job)]
        assert "its worker got SIGTERM" in pilot.told([cut])
        assert not any("RUN_ERROR" in pilot.walk(job) for job in jobs)
        assert pilot.states([job for job in jobs if job != cut]) == ["RUNNING", "RUNNING"]
    finally:
        pilot.end()


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return False
    return False


def test_what_is_in_doubt_is_judged_in_order_and_once() -> None:
    ends = DoubtfulEnds(in_allocation=False)
    assert [ends.is_one(Ending(code, 0)) for code in (-15, -9, 143, 137, -12, 1, 0, -11)] == [True] * 5 + [
        False
    ] * 3
    assert DoubtfulEnds(in_allocation=True).is_one(Ending(1, 0))
    assert not DoubtfulEnds(in_allocation=True).is_one(Ending(0, 0))
    for job_id, now in ((1, 0.0), (2, 1.0), (3, 5.0)):
        ends.keep(job_id, Ending(-15, 0), now)
    assert ends.due == [DOUBT_SEC]
    assert [end.job_id for end in ends.take(1.0 + DOUBT_SEC)] == [1, 2]
    assert [end.job_id for end in ends.take_of({4})] == []
    assert [end.job_id for end in ends.take_of(None)] == [3]
    assert len(ends) == 0 and not ends.due
