"""Launchers killed, frozen or cut off, and servers that go away: every job ends once, none is lost."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from balsam.sdk.application import ApplicationDefinition
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.services import EmbeddedServer
from tests.waiting import wait_until


def runs_once(pilot: Pilot, job_id: int) -> bool:
    """Whether the job entered RUNNING once, in its events and in its own record of starts."""
    lines = (pilot.site.data_path / pilot.row(job_id)["workdir"] / "starts").read_text().splitlines()
    return pilot.walk(job_id).count("RUNNING") == 1 and len(lines) == 1


def test_killed_launcher_leaves_no_process_and_its_job_runs_again(brief: Pilot) -> None:
    # The second sleep is in a session of its own: no process group leads to it.
    seen, hidden = long_sleep(), long_sleep()
    app = brief.command(
        f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] || {{ setsid {hidden} & {seen}; }}"
    )
    [job] = brief.submit(app)
    launcher = brief.launch()
    brief.wait_state([job], "RUNNING")
    wait_until(lambda: processes_with(hidden))
    os.kill(launcher.pid, signal.SIGKILL)
    wait_until(lambda: not processes_with(hidden) and not processes_with(seen), timeout=3)
    launcher.wait()
    brief.launch()
    brief.wait_done([job])
    assert brief.walk(job)[2:] == [
        "RUNNING",
        "RUN_TIMEOUT",
        "RESTART_READY",
        "RUNNING",
        "RUN_DONE",
        "JOB_FINISHED",
    ]


def test_frozen_launcher_loses_its_runs_and_reports_them_when_it_wakes(brief: Pilot) -> None:
    sleeping = long_sleep()
    app = brief.command(f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] || {sleeping}")
    [job] = brief.submit(app)
    launcher = brief.launch()
    brief.wait_state([job], "RUNNING")
    wait_until(lambda: processes_with(sleeping))
    os.kill(launcher.pid, signal.SIGSTOP)
    wait_until(lambda: not processes_with(sleeping), timeout=4)
    os.kill(launcher.pid, signal.SIGCONT)
    brief.wait_done([job])
    assert brief.walk(job)[3:] == ["RUN_TIMEOUT", "RESTART_READY", "RUNNING", "RUN_DONE", "JOB_FINISHED"]


def test_launcher_frozen_for_longer_than_its_lease_goes_on_with_a_new_session(brief: Pilot) -> None:
    sleeping = long_sleep()
    app = brief.command(f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] || {sleeping}")
    [job] = brief.submit(app)
    launcher = brief.launch()
    brief.wait_state([job], "RUNNING")
    os.kill(launcher.pid, signal.SIGSTOP)
    brief.wait_state([job], "RESTART_READY")
    os.kill(launcher.pid, signal.SIGCONT)
    brief.wait_done([job])
    assert brief.walk(job).count("RUNNING") == 2


def test_output_that_is_no_file_fails_its_job_and_holds_up_nobody(brief: Pilot) -> None:
    app = brief.command("true")
    workdir = brief.site.data_path / "fifo" / "0"
    workdir.mkdir(parents=True)
    os.mkfifo(workdir / "job.out")  # whoever simply opens it to write waits for a reader
    ids = brief.submit(app, workdir="fifo") + brief.submit(app)
    brief.launch()
    assert [row["state"] for row in brief.wait_done(ids)] == ["FAILED", "JOB_FINISHED"]
    assert "can't write job.out" in brief.events(ids[0])[-1]["data"]["error"]


def test_run_that_had_no_interpreter_yet_when_the_launcher_froze_is_run_by_whoever_is_next(
    brief: Pilot, tmp_path: Path
) -> None:
    sleeping = long_sleep()
    slow = tmp_path / "python"
    first = f"[ -e {tmp_path}/seen ] || {{ touch {tmp_path}/seen; {sleeping}; }}"
    slow.write_text(f'#!/bin/sh\n{first}\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)

    class Slow(ApplicationDefinition):
        python_exe = str(slow)

        def run(self) -> int:
            return 1

    [job] = brief.submit(brief.app_id(Slow))
    launcher = brief.launch()
    wait_until(lambda: processes_with(sleeping))
    os.kill(launcher.pid, signal.SIGSTOP)
    wait_until(lambda: not processes_with(sleeping), timeout=4)
    os.kill(launcher.pid, signal.SIGCONT)
    brief.wait_done([job])
    assert brief.walk(job)[2:] == ["RUNNING", "RUN_DONE", "JOB_FINISHED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_runs_and_launcher_in_good_order(pilot: Pilot, number: signal.Signals) -> None:
    sleeping = long_sleep()
    [job] = pilot.submit(pilot.command(sleeping))
    spare = pilot.submit(pilot.command("true", "Spare"), tags={"never": "run"}, wall_time_min=1000)
    launcher = pilot.launch()
    pilot.wait_state([job], "RUNNING")
    launcher.send_signal(number)
    assert launcher.wait(60) == 0
    assert not processes_with(sleeping)
    assert pilot.states([job]) == ["RESTART_READY"]
    assert number.name in pilot.events(job)[-2]["data"]["message"]
    assert [row["session_id"] for row in pilot.rows([job, *spare])] == [None, None]
    assert pilot.client.get("/sessions/")["results"] == []


def test_run_that_ignores_sigterm_is_killed_at_the_wall_time(pilot: Pilot) -> None:
    app = pilot.command("trap '' TERM; while true; do sleep 0.1; done")
    [job] = pilot.submit(app)
    launcher = pilot.launch(minutes=0.15)
    assert launcher.wait(60) == 0
    assert pilot.walk(job)[2:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY"]
    assert "wall time" in pilot.events(job)[-2]["data"]["message"]


def test_run_that_floods_its_output_is_ended_and_the_others_go_on(pilot: Pilot) -> None:
    pilot.set("launcher", max_output_mb=1)
    flood = pilot.submit(pilot.command("yes"), max_restarts=0, node_packing_count=2)
    other = pilot.submit(pilot.command(long_sleep()), node_packing_count=2)
    pilot.launch()
    (row,) = pilot.wait_done(flood, 30)
    assert row["state"] == "FAILED"
    assert "job.out grew beyond 1 MB" in pilot.events(flood[0])[-2]["data"]["error"]
    assert pilot.states(other) == ["RUNNING"]


def test_runs_are_warned_before_the_wall_time_is_over(pilot: Pilot) -> None:
    pilot.set("launcher", warning_signal="SIGUSR1", warning_sec=2)
    ids = pilot.submit(pilot.command("trap 'echo saved; exit 0' USR1; while true; do sleep 0.1; done"))
    pilot.launch(minutes=0.1)
    assert [row["state"] for row in pilot.wait_done(ids)] == ["JOB_FINISHED"]
    assert pilot.output(ids[0]).endswith("saved\n")


def test_jobs_end_once_while_the_server_is_away(own_pilot: Pilot, own_server: EmbeddedServer) -> None:
    app = own_pilot.command("echo start >> starts; sleep 0.2")
    ids = own_pilot.submit(app, 30, node_packing_count=4)
    own_pilot.launch()
    wait_until(lambda: "JOB_FINISHED" in own_pilot.states(ids))
    for _ in range(2):
        own_server.kill()
        time.sleep(0.8)  # runs end in the meantime
        own_server.start()
    own_pilot.wait_done(ids)
    assert set(own_pilot.states(ids)) == {"JOB_FINISHED"}
    assert all(runs_once(own_pilot, job) for job in ids)


def test_run_goes_on_through_an_outage_longer_than_the_lease(
    own_pilot: Pilot, own_server: EmbeddedServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    app = own_pilot.command(f"echo start >> starts; until [ -e {go} ]; do sleep 0.05; done")
    [job] = own_pilot.submit(app)
    own_pilot.launch()
    own_pilot.wait_state([job], "RUNNING")
    own_server.kill()
    time.sleep(5.0)  # the lease is 4 s
    own_server.start()
    go.touch()
    own_pilot.wait_done([job])
    assert runs_once(own_pilot, job)


def test_run_whose_job_is_deleted_is_killed(brief: Pilot) -> None:
    sleeping = long_sleep()
    [job] = brief.submit(brief.command(sleeping))
    brief.launch()
    brief.wait_state([job], "RUNNING")
    brief.client.delete("/jobs/", {"id": job})
    wait_until(lambda: not processes_with(sleeping), timeout=10)


def test_launcher_whose_session_is_ended_kills_its_runs_and_opens_another(brief: Pilot) -> None:
    sleeping = long_sleep()
    app = brief.command(f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] || {sleeping}")
    [job] = brief.submit(app)
    brief.launch()
    brief.wait_state([job], "RUNNING")
    [session] = brief.client.get("/sessions/")["results"]
    brief.client.delete(f"/sessions/{session['id']}")
    brief.wait_done([job])
    assert brief.walk(job).count("RUNNING") == 2
    assert not processes_with(sleeping)


def test_mpi_run_that_starts_again_at_once_is_not_taken_for_the_one_that_was_killed(brief: Pilot) -> None:
    app = brief.command(f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] && sleep 3 || {long_sleep()}")
    [job] = brief.submit(app)
    brief.launch(mode="mpi")
    brief.wait_state([job], "RUNNING")
    [session] = brief.client.get("/sessions/")["results"]
    brief.client.delete(f"/sessions/{session['id']}")
    brief.wait_done([job])
    assert brief.walk(job)[-3:] == ["RUNNING", "RUN_DONE", "JOB_FINISHED"]


def test_two_launchers_share_a_short_backlog(pilot: Pilot) -> None:
    app = pilot.command("sleep 0.5; echo ran")
    first, second = pilot.launch("--tag", "a=b"), pilot.launch("--tag", "a=b")
    wait_until(lambda: len(pilot.client.get("/sessions/")["results"]) == 2)
    ids = pilot.submit(app, 6, tags={"a": "b"})
    wait_until(lambda: pilot.states(ids).count("RUNNING") == 2, on_timeout=lambda: pilot.told(ids))
    pilot.wait_done(ids)
    assert first.poll() is None and second.poll() is None


def test_launcher_that_starts_before_its_server_waits_for_it(
    own_pilot: Pilot, own_server: EmbeddedServer
) -> None:
    [job] = own_pilot.submit(own_pilot.command("true"))
    own_server.kill()
    own_pilot.launch()
    log = own_pilot.site.log_path
    wait_until(lambda: "no answer" in "".join(p.read_text() for p in log.iterdir()))
    own_server.start()
    own_pilot.wait_done([job])


def test_launcher_of_an_unknown_batch_job_ends_with_the_servers_sentence(pilot: Pilot) -> None:
    launcher = pilot.launch("--batch-job", "987654")
    assert launcher.wait(60) == 1
    [log] = pilot.site.log_path.glob("serial_mode_*")
    assert "987654" in log.read_text()


@pytest.mark.parametrize("is_function", [False, True])
def test_node_without_free_files_gives_its_jobs_back_and_rests(pilot: Pilot, is_function: bool) -> None:
    class Nothing(ApplicationDefinition):
        isolate = True

        def run(self) -> int:
            return 1

    app = pilot.app_id(Nothing) if is_function else pilot.command("true")
    launcher = pilot.launch()
    pilot.wait_done(pilot.submit(app))
    process = psutil.Process(launcher.pid)
    room = process.rlimit(psutil.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path(f"/proc/{launcher.pid}/fd").iterdir()}
    first_free = next(number for number in itertools.count() if number not in taken)
    process.rlimit(psutil.RLIMIT_NOFILE, (first_free, room[1]))
    [job] = pilot.submit(app)
    [log] = pilot.site.log_path.glob("serial_mode_*.log")
    wait_until(lambda: log.read_text().count("goes back") >= 2, 20, lambda: pilot.told([job]))
    assert pilot.walk(job)[-1] == "PREPROCESSED"
    assert "Too many open files" in log.read_text()
    process.rlimit(psutil.RLIMIT_NOFILE, room)
    assert [row["state"] for row in pilot.wait_done([job], 30)] == ["JOB_FINISHED"]
    assert pilot.walk(job).count("RUNNING") == 1
    assert log.read_text().count("goes back") < 6
