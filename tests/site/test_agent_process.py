"""Starting, stopping and killing the agent as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from balsam.client.errors import ServerRefused
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
    assert bench.site.pid_path.read_text() == f"{socket.gethostname()}\n{report.pid}\n"
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


def test_an_agent_on_another_host_counts_while_it_renews_its_file(bench: Bench) -> None:
    bench.site.pid_path.write_text("elsewhere\n1\n")
    refused = start_agent(bench.site)
    assert "host elsewhere, process 1" in refused.sentence and "remove" in refused.sentence
    assert "run `balsam site stop` there" in stop_agent(bench.site).sentence
    os.utime(bench.site.pid_path, (0, 0))
    bench.start()


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


def test_sections_that_nobody_serves_are_said(bench: Bench) -> None:
    bench.site.settings_path.write_text("elastic_queue: {min_num_nodes: 1}")
    bench.start()
    assert "has a section elastic_queue, and this version does nothing with it yet" in bench.log()
