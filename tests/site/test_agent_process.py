"""Starting, stopping and killing the agent as a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from balsam.client.errors import ServerRefused
from balsam.runtime.site_folder import SiteFolder, identity_of
from balsam.site.lease import place_of
from balsam.site.processes import agent_command, agent_status, start_agent, stop_agent
from tests.services import EmbeddedServer
from tests.site.bench import Bench, lives
from tests.waiting import wait_until


def start_in_child(bench: Bench) -> list[str]:
    """A program that starts the agent and ends, as the command line does."""
    code = "import sys; from balsam.runtime.site_folder import SiteFolder\n"
    code += "from balsam.site.processes import start_agent\n"
    code += "print(start_agent(SiteFolder(sys.argv[1])).sentence)"
    return [sys.executable, "-c", code, str(bench.site.path)]


def test_start_says_where_the_agent_works_and_stop_leaves_no_pid_file(bench: Bench) -> None:
    report = bench.start()
    assert report.pid == bench.agent_pid
    assert bench.site.pid_path.read_text().startswith(f"{socket.gethostname()}\n{report.pid}\n")
    assert str(report.log_path) in report.sentence
    began = time.monotonic()
    assert stop_agent(bench.site).stopped
    assert time.monotonic() - began < 3.0
    assert not bench.site.pid_path.exists() and not lives(report.pid)
    assert not agent_status(bench.site).running


def test_start_leaves_the_callers_pipes_alone(bench: Bench) -> None:
    # With pipes, `run` returns only when nobody holds their other ends any more.
    done = subprocess.run(start_in_child(bench), capture_output=True, text=True, timeout=30, check=True)
    assert "works on" in done.stdout and done.stderr == ""
    assert agent_status(bench.site).running


def test_the_agent_outlives_its_starters_terminal(bench: Bench) -> None:
    subprocess.run(start_in_child(bench), capture_output=True, timeout=30, check=True)
    assert os.getsid(bench.agent_pid) == bench.agent_pid
    os.kill(bench.agent_pid, signal.SIGHUP)
    bench.await_state(bench.ask(num_nodes=99), "submit_failed")


def test_a_second_agent_is_refused_with_host_and_process(bench: Bench) -> None:
    pid = bench.start().pid
    refused = start_agent(bench.site)
    assert not refused.started
    assert f"host {socket.gethostname()}, process {pid}" in refused.sentence
    direct = subprocess.run(agent_command(bench.site), capture_output=True, text=True, timeout=30)
    assert direct.returncode == 1 and f"process {pid}" in direct.stderr


def test_of_agents_started_at_once_one_works(bench: Bench) -> None:
    starts = [subprocess.Popen(start_in_child(bench), stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [start.communicate(timeout=60)[0] for start in starts]
    assert sum("works on" in sentence for sentence in said) == 1, said
    assert sum("works at this site already" in sentence for sentence in said) == 2, said


def test_the_file_of_a_killed_agent_does_not_hold_up_the_next(bench: Bench) -> None:
    bench.start()
    bench.kill_agent()
    assert bench.site.pid_path.exists()
    bench.start()


def test_a_pid_that_belongs_to_somebody_else_now_is_stale(bench: Bench) -> None:
    bench.site.pid_path.write_text(f"{socket.gethostname()}\n{os.getpid()}\n")
    assert not agent_status(bench.site).running
    bench.start()


def test_a_file_of_another_host_or_start_of_this_one_stops_nobody(bench: Bench) -> None:
    """What a file can't tell, the lease on the server does."""
    bench.site.pid_path.write_text("elsewhere\n1\n")
    assert "run `balsam site stop` there" in stop_agent(bench.site).sentence
    bench.start()
    stop_agent(bench.site)
    folder = identity_of(bench.site.path)
    bench.site.pid_path.write_text(f"{socket.gethostname()}\n1\nanother-start:{1}\n{folder}\n")
    assert not agent_status(bench.site).running
    bench.start()


def test_a_file_that_was_copied_with_its_folder_stops_nobody(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    shutil.copytree(bench.site.path, tmp_path / "copy", symlinks=True)
    assert not agent_status(SiteFolder(tmp_path / "copy")).running
    assert agent_status(bench.site).running


@pytest.mark.parametrize("spelling", ["link", "site/", "site/../site", "site/data/.."])
def test_however_a_folder_is_spelled_one_agent_works_there(
    spelling: str, bench: Bench, tmp_path: Path
) -> None:
    """Identity is the folder, not its spelling: links, relative paths, slashes."""
    (tmp_path / "link").symlink_to(bench.site.path)
    other = SiteFolder(f"{tmp_path}/{spelling}")
    first = start_agent(other)
    assert first.started, first.sentence
    assert not start_agent(bench.site).started and not start_agent(other).started
    assert stop_agent(bench.site).stopped and not agent_status(other).running


def test_an_agent_whose_folder_was_moved_ends_and_the_next_works(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    moved = bench.site.path.rename(tmp_path / "moved")
    site = SiteFolder(moved)
    try:
        assert "works at this site already" in start_agent(site).sentence
        wait_until(lambda: not agent_status(site).running, 20.0)
        [log] = site.log_path.glob("service*")
        assert f"the site's folder is no longer at {bench.site.path}" in log.read_text()
        report = start_agent(site)
        assert report.started, report.sentence
    finally:
        stop_agent(site)
        moved.rename(bench.site.path)


def test_of_two_copies_of_a_site_one_works_and_the_other_says_where(bench: Bench, tmp_path: Path) -> None:
    """Two agents of one site: the server lets one work."""
    shutil.copytree(bench.site.path, tmp_path / "copy", symlinks=True)
    copy = SiteFolder(tmp_path / "copy")
    pid = bench.start().pid
    began = time.monotonic()
    refused = start_agent(copy)
    assert not refused.started and time.monotonic() - began < 10.0
    assert (
        f"process {pid}, in {bench.site.path}" in refused.sentence and "if it is a copy" in refused.sentence
    )
    record = bench.client.get(f"/sites/{bench.site.site_id}")
    assert record["agent"]["path"] == record["path"] == str(bench.site.path)
    assert record["agent"]["state"] == "works" and record["agent"]["refused"]["path"] == str(copy.path)
    bench.await_state(bench.ask(num_nodes=99), "submit_failed")
    stop_agent(bench.site)
    assert bench.client.get(f"/sites/{bench.site.site_id}")["agent"]["state"] == "stopped"
    try:
        assert start_agent(copy).started, "nobody else works there now"
        assert bench.client.get(f"/sites/{bench.site.site_id}")["agent"]["path"] == str(copy.path)
        assert "in " + str(copy.path) in start_agent(bench.site).sentence
    finally:
        stop_agent(copy)


def test_the_lease_of_a_dead_agent_of_this_machine_is_taken_over_at_once(bench: Bench) -> None:
    bench.start()
    bench.kill_agent()
    began = time.monotonic()
    bench.start()
    assert time.monotonic() - began < 15.0


def test_an_agent_that_was_replaced_meanwhile_ends_with_a_sentence(bench: Bench) -> None:
    pid = bench.start().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    record = bench.client.get(f"/sites/{bench.site.site_id}")["agent"]
    thief = place_of(bench.site.path).model_dump() | {"host": "elsewhere", "boot_id": "b", "process": "b:1"}
    instance = agent_instance(bench)
    lease = bench.client.put(f"/sites/{bench.site.site_id}/agent", {**thief, "replaces": instance})
    assert record["pid"] == pid and lease["granted"]
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not lives(pid), 25.0, bench.log)
    assert "another agent has taken this site over" in bench.log()
    bench.client.delete(f"/sites/{bench.site.site_id}/agent/{thief['instance']}")


def agent_instance(bench: Bench) -> str:
    """Of the agent that holds the site, as another one is told."""
    asked = place_of(bench.site.path).model_dump()
    told = bench.client.put(f"/sites/{bench.site.site_id}/agent", asked)
    assert not told["granted"]
    return str(told["holder"]["instance"])


def test_wrong_settings_are_said_by_start(bench: Bench) -> None:
    bench.site.settings_path.write_text("launcher: {idle_ttl: 3}")
    report = start_agent(bench.site)
    assert not report.started
    assert "did you mean launcher.idle_ttl_sec?" in report.sentence
    assert not bench.site.pid_path.exists()


def test_start_shows_the_logs_end_when_the_agent_dies(bench: Bench) -> None:
    obstacle = bench.site.job_path / "local"
    obstacle.write_text("not a folder")
    report = start_agent(bench.site)
    obstacle.unlink()
    assert not report.started and "FileExistsError" in report.sentence


def test_a_token_that_was_revoked_ends_the_agent_with_a_sentence(bench: Bench) -> None:
    bench.start()
    batch_job = bench.ask()
    for token in bench.client.get("/auth/site-tokens"):
        if token["site_id"] == bench.site.site_id:
            bench.client.delete(f"/auth/site-tokens/{token['id']}")
    bench.client.delete(f"/batch-jobs/{batch_job}")  # makes it talk to the server
    wait_until(lambda: not agent_status(bench.site).running, 20.0, bench.log)
    assert "the agent ends: the server no longer takes this site's token" in bench.log()
    assert "Traceback" not in bench.log()
    report = start_agent(bench.site)
    assert not report.started and "no longer takes this site's token" in report.sentence
    assert "`balsam site token renew`" in report.sentence


def test_no_secret_is_logged(bench: Bench) -> None:
    bench.site.settings_path.write_text("logging: {level: DEBUG}")
    bench.start()
    bench.await_state(bench.ask(num_nodes=99), "submit_failed")
    stop_agent(bench.site)
    assert bench.site.token and bench.site.token not in bench.log()


def test_the_agent_starts_and_works_on_while_the_server_is_away(
    own_bench: Bench, embedded: EmbeddedServer
) -> None:
    embedded.kill()
    report = own_bench.start()
    assert "does not answer yet" in report.sentence
    embedded.start()
    own_bench.await_state(own_bench.ask(num_nodes=99), "submit_failed")
    embedded.kill()
    began = time.monotonic()
    assert stop_agent(own_bench.site).stopped
    assert time.monotonic() - began < 3.0
    assert "Traceback" not in own_bench.log()


def test_the_site_is_refreshed_on_the_server(bench: Bench) -> None:
    bench.site.settings_path.write_text("scheduler: {allowed_projects: [other]}")
    before = bench.client.get(f"/sites/{bench.site.site_id}")
    bench.start()
    wait_until(lambda: bench.client.get(f"/sites/{bench.site.site_id}")["allowed_projects"] == ["other"])
    assert bench.client.get(f"/sites/{bench.site.site_id}")["last_refresh"] > before["last_refresh"]


def test_the_server_is_told_what_the_sites_nodes_hold(bench: Bench) -> None:
    bench.start()
    [node] = bench.client.get(f"/sites/{bench.site.site_id}")["nodes"]
    assert node["cpus"] == len(os.sched_getaffinity(0)) and node["mem_mb"] > 0 and node["gpus"] == 0
    with pytest.raises(ServerRefused, match="asks for 99 GPUs"):
        bench.jobs(bench.app(), gpus_per_rank=99)


def test_the_agents_log_is_private_to_the_site_folder(bench: Bench) -> None:
    report = bench.start()
    assert report.log_path is not None
    assert report.log_path.parent == bench.site.log_path
    assert report.log_path.name.startswith("service_") and Path(report.log_path).exists()


def test_stop_is_quick_while_the_server_hangs(own_bench: Bench, embedded: EmbeddedServer) -> None:
    own_bench.start()
    own_bench.await_state(own_bench.ask(num_nodes=99), "submit_failed")
    assert embedded.process is not None
    server = psutil.Process(embedded.process.pid)
    server.suspend()
    try:
        began = time.monotonic()
        assert stop_agent(own_bench.site).stopped
        assert time.monotonic() - began < 3.0
    finally:
        server.resume()
    assert not own_bench.site.pid_path.exists()


def test_sections_that_nobody_serves_are_refused_and_what_is_in_vain_is_said(bench: Bench) -> None:
    bench.site.settings_path.write_text("logging: {}\nelastic_queue: {min_num_nodes: 1}")
    refused = start_agent(bench.site)
    assert not refused.started and "settings.yml, line 2: elastic_queue is turned on" in refused.sentence
    assert not bench.site.pid_path.exists()
    bench.site.settings_path.write_text("transfers: {transfer_locations: {far: 'globus://x'}}")
    bench.start()
    assert "transfers.transfer_locations names far, and this release moves no files" in bench.log()
