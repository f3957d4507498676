"""What launchers have to report survives outages, their own deaths and full disks."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from balsam.runtime.spool import SpoolFolder, SpoolName
from balsam.site.processes import agent_status, start_agent, stop_agent
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.services import EmbeddedServer
from tests.waiting import wait_until

ONCE = ["RUNNING", "RUN_DONE", "JOB_FINISHED"]


@pytest.fixture
def agent(own_pilot: Pilot) -> Iterator[Callable[[], None]]:
    """Starts the site's agent."""

    def start() -> None:
        report = start_agent(own_pilot.site)
        assert report.started, report.sentence

    yield start
    if agent_status(own_pilot.site).running:
        stop_agent(own_pilot.site)


def batch_job(pilot: Pilot) -> int:
    body = {"num_nodes": 1, "wall_time_min": 5, "job_mode": "serial", "project": "local", "queue": "local"}
    return int(pilot.client.post("/batch-jobs/", {**body, "site_id": pilot.site.site_id})["id"])


def spools(pilot: Pilot) -> list[SpoolName]:
    return SpoolFolder(pilot.site.spool_path).names()


def spooled(pilot: Pilot, state: str) -> int:
    """Updates to this state in all spools of the site."""
    texts = [path.read_text() for path in pilot.site.spool_path.glob("*.jsonl")]
    return sum(text.count(f'"state":"{state}"') for text in texts)


def freeze(server: EmbeddedServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)


def thaw(server: EmbeddedServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)


def logs(pilot: Pilot) -> str:
    return "\n".join(p.read_text() for p in sorted(pilot.site.log_path.iterdir()) if p.is_file())


def test_every_run_that_ends_in_an_outage_of_three_leases_has_run_once(
    own_pilot: Pilot, own_server: EmbeddedServer
) -> None:
    app = own_pilot.command("echo start >> starts; sleep 4; date +%s.%N >> ends")
    ids = own_pilot.submit(app, 12, node_packing_count=6)
    own_pilot.launch()
    own_pilot.launch()
    wait_until(lambda: own_pilot.states(ids).count("RUNNING") >= 6, on_timeout=lambda: own_pilot.told(ids))
    wait_until(lambda: len(spools(own_pilot)) == 2)
    own_server.kill()
    down = time.time()
    time.sleep(3 * 4.0)  # the length of the outage; a lease is 4 s
    own_server.start()
    up = time.time()
    own_pilot.wait_done(ids)
    in_outage = 0
    for job in ids:
        workdir = own_pilot.site.data_path / own_pilot.row(job)["workdir"]
        assert own_pilot.walk(job)[-3:] == ONCE and own_pilot.walk(job).count("RUNNING") == 1
        assert (workdir / "starts").read_text() == "start\n"
        ended = float((workdir / "ends").read_text())
        told = datetime.fromisoformat(own_pilot.events(job)[-2]["timestamp"]).replace(tzinfo=UTC).timestamp()
        assert 0 <= told - ended < 2.0
        in_outage += down < ended < up
    assert in_outage >= 6


# The lease is to outlive the start of the agent, also on a busy machine.
@pytest.mark.parametrize("own_server", [60.0], indirect=True)
def test_a_launcher_killed_before_it_could_report_is_spoken_for_by_the_agent(
    own_pilot: Pilot, own_server: EmbeddedServer, agent: Callable[[], None], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    app = own_pilot.command(f"echo start >> starts; until [ -e {go} ]; do sleep 0.05; done")
    [job] = own_pilot.submit(app)
    launcher = own_pilot.launch()
    own_pilot.wait_state([job], "RUNNING")
    own_server.kill()
    go.touch()
    wait_until(lambda: spooled(own_pilot, "RUN_DONE") == 1)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    own_server.start()
    agent()
    own_pilot.wait_done([job])
    assert own_pilot.walk(job)[-3:] == ONCE and own_pilot.walk(job).count("RUNNING") == 1
    wait_until(lambda: spools(own_pilot) == [])
    assert [s for s in own_pilot.client.get("/sessions/")["results"] if s["num_nodes"]] == []


def test_a_launcher_started_again_in_its_allocation_settles_what_the_first_one_left(
    own_pilot: Pilot, own_server: EmbeddedServer, tmp_path: Path
) -> None:
    go, sleeping = tmp_path / "go", long_sleep()
    number = str(batch_job(own_pilot))
    quick = own_pilot.command(f"until [ -e {go} ]; do sleep 0.05; done")
    slow = own_pilot.command(f"echo start >> starts; [ $(wc -l < starts) -gt 1 ] || {sleeping}")
    [done] = own_pilot.submit(quick, node_packing_count=4)
    [cut] = own_pilot.submit(slow, node_packing_count=4)
    first = own_pilot.launch("--batch-job", number)
    own_pilot.wait_state([done, cut], "RUNNING")
    freeze(own_server)  # which has the report by then, as its successor can't know
    go.touch()
    wait_until(lambda: spooled(own_pilot, "RUN_DONE") == 1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    own_pilot.launch("--batch-job", number)
    thaw(own_server)
    own_pilot.wait_done([done, cut])
    assert own_pilot.walk(done)[-3:] == ONCE and own_pilot.walk(done).count("RUNNING") == 1
    assert own_pilot.walk(cut)[-6:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY", *ONCE]
    assert not processes_with(sleeping)
    assert "an earlier launcher left its session" in logs(own_pilot)
    assert len(spools(own_pilot)) == 1
    assert list(own_pilot.site.spool_path.glob("*.refused")) == []


def test_a_second_launcher_of_one_batch_job_ends_with_a_sentence(pilot: Pilot) -> None:
    """Both would count the allocation's nodes as theirs."""
    number = str(batch_job(pilot))
    first = pilot.launch("--batch-job", number)
    wait_until(lambda: len(spools(pilot)) == 1)
    assert pilot.launch("--batch-job", number).wait(60) == 2
    said = (pilot.site.log_path / "launcher.out").read_text()
    assert f"a launcher of BatchJob {number} works already" in said and f"process {first.pid}" in said
    assert "Traceback" not in said and len(spools(pilot)) == 1
    ids = pilot.submit(pilot.command("true"), 2)
    assert {row["state"] for row in pilot.wait_done(ids)} == {"JOB_FINISHED"}
    first.terminate()
    assert first.wait(60) == 0
    assert spools(pilot) == []


def test_reports_of_runs_that_others_have_by_now_are_kept_and_counted(
    own_pilot: Pilot, own_server: EmbeddedServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    number = batch_job(own_pilot)
    app = own_pilot.command(f"until [ -e {go} ]; do sleep 0.05; done")
    [job] = own_pilot.submit(app)
    launcher = own_pilot.launch("--batch-job", str(number))
    own_pilot.wait_state([job], "RUNNING")
    own_server.kill()
    go.touch()
    wait_until(lambda: spooled(own_pilot, "RUN_DONE") == 1)
    os.kill(launcher.pid, signal.SIGSTOP)
    own_server.start()
    own_pilot.wait_state([job], "RESTART_READY")
    os.kill(launcher.pid, signal.SIGCONT)
    own_pilot.wait_done([job])
    assert own_pilot.walk(job).count("RUNNING") == 2
    [kept] = own_pilot.site.spool_path.glob(f"{number}-0-*.refused")
    [told] = [json.loads(line) for line in kept.read_text().splitlines()]
    assert (told["update"]["id"], told["update"]["state"]) == (job, "RUN_DONE")
    assert f"does not hold job {job}" in told["reason"]
    wait_until(lambda: "refused" in own_pilot.client.get(f"/batch-jobs/{number}")["status_info"])
    note = own_pilot.client.get(f"/batch-jobs/{number}")["status_info"]["refused"]
    assert note.startswith("1 report of a run was refused") and str(own_pilot.site.spool_path) in note


def test_on_a_full_disk_runs_are_reported_and_none_is_started_until_there_is_room(
    own_pilot: Pilot, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    number = batch_job(own_pilot)
    [running] = own_pilot.submit(own_pilot.command(f"until [ -e {go} ]; do sleep 0.05; done"))
    launcher = own_pilot.launch("--batch-job", str(number))
    own_pilot.wait_state([running], "RUNNING")
    [spool] = own_pilot.site.spool_path.glob("*.jsonl")
    process = psutil.Process(launcher.pid)
    room = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (spool.stat().st_size, room[1]))
    go.touch()
    own_pilot.wait_state([running], "JOB_FINISHED")

    def note() -> str | None:
        told: str | None = own_pilot.client.get(f"/batch-jobs/{number}")["status_info"].get("spool")
        return told

    wait_until(lambda: note() is not None)
    assert str(spool) in str(note()) and "no run is started" in str(note())
    [later] = own_pilot.submit(own_pilot.command("true"))
    time.sleep(1.0)  # in which it would have run
    assert own_pilot.states([later]) == ["PREPROCESSED"]
    process.rlimit(psutil.RLIMIT_FSIZE, room)
    own_pilot.wait_state([later], "JOB_FINISHED")
    wait_until(lambda: note() is None)
    assert spooled(own_pilot, "RUN_DONE") == 2


def test_jobs_of_a_killed_launcher_run_again_within_seconds_where_the_agent_sees_its_death(
    own_pilot: Pilot, agent: Callable[[], None]
) -> None:
    sleeping = long_sleep()
    [job] = own_pilot.submit(own_pilot.command(sleeping))
    launcher = own_pilot.launch()
    own_pilot.wait_state([job], "RUNNING")
    agent()
    os.kill(launcher.pid, signal.SIGKILL)
    died = time.monotonic()
    own_pilot.wait_state([job], "RESTART_READY")
    assert time.monotonic() - died < 5.0
    assert not processes_with(sleeping)
