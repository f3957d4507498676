"""`balsam site logs` and `balsam job logs`: with an agent, an allocation and a launcher that run a job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.api import ApplicationDefinition, BatchJob, Job, JobState, Site
from balsam.client.transport import Client
from tests.cli.conftest import INTERRUPTIBLE, Balsam
from tests.waiting import wait_until


@pytest.fixture
def site(client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The user's only site, and the working directory in it."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    monkeypatch.chdir(home / "runs")
    return Site.objects.get(name="laptop")


@pytest.fixture
def ran(site: Site, balsam: Balsam) -> Iterator[tuple[Job, Job]]:
    """Two jobs that a launcher has run; the second one's hook failed."""

    class Say(ApplicationDefinition):
        site = "laptop"
        command_template = "echo {{ word }}"

    class Stumble(ApplicationDefinition):
        site = "laptop"
        command_template = "true"

        def preprocess(self) -> None:
            raise ValueError("no such mesh")

    Say.sync()
    Stumble.sync()
    jobs = Say.submit("say", word="hello"), Stumble.submit("stumble")
    BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
    assert balsam("site", "start").status == 0
    try:
        assert Job.objects.wait(jobs, timeout=60).not_done == []
        yield jobs
    finally:
        balsam("site", "stop")


def test_logs_tell_what_agent_and_launcher_did_with_a_job(
    ran: tuple[Job, Job], site: Site, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = ran
    assert (good.state, bad.state) == (JobState.job_finished, JobState.failed)

    def told() -> str:
        return balsam("job", "logs", good.id).out

    wait_until(lambda: "RUN_DONE" in told(), on_timeout=told)
    assert "serial_mode" in told() and "RUNNING" in told() and f"[{good.id}]" in told()
    of_bad = balsam("job", "logs", bad.id, "--json").out
    [record] = json.loads(of_bad)
    assert record["level"] == "WARNING" and "no such mesh" in record["text"]
    assert record["source"].startswith("service_") and record["time"]

    everything = balsam("site", "logs", "-n", 0)
    assert everything.status == 0
    sources = {
        one.split(":")[0].rstrip("_0123456789-.") for one in everything.out.splitlines() if ": 20" in one
    }
    assert sources == {"service", "serial_mode"}
    assert "the agent of site" in everything.out
    warnings = json.loads(balsam("site", "logs", "--level", "warning", "--json", "-n", 0).out)
    assert {one["level"] for one in warnings} <= {"WARNING", "ERROR", "CRITICAL"} and warnings
    assert json.loads(balsam("site", "logs", "--job", bad.id, "--json").out) == [record]
    assert len(json.loads(balsam("site", "logs", "--json", "-n", 2).out)) == 2

    monkeypatch.chdir(home)  # elsewhere on the site's machine
    assert json.loads(balsam("job", "logs", bad.id, "--json").out) == [record]
    assert json.loads(balsam("site", "logs", "--site", "laptop", "--job", bad.id, "--json").out) == [record]


def test_logs_of_a_site_on_another_machine_say_where_they_are(
    site: Site, client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Site.objects.create("far", "/lustre/ada/far")

    class Say(ApplicationDefinition):
        site = "far"
        command_template = "echo"

    Say.sync()
    job = Say.submit("say")
    monkeypatch.chdir(home)
    for words in (["site", "logs", "--site", "far"], ["job", "logs", job.id]):
        said = balsam(*words)
        assert said.status == 1
        assert "/lustre/ada/far/log" in said.err and "on its machine: run `balsam" in said.err
    assert balsam("job", "logs", 987654321).status == 1
    assert far.id != site.id


def test_a_job_that_no_log_names_is_said_so(site: Site, balsam: Balsam) -> None:
    class Say(ApplicationDefinition):
        site = "laptop"
        command_template = "echo"

    Say.sync()
    job = Say.submit("say")
    said = balsam("job", "logs", job.id)
    assert (said.status, said.out) == (0, "")
    assert f"names job {job.id}" in said.err
    assert balsam("job", "logs", job.id, "--json").out == "[]\n"


def test_followed_logs_show_what_is_written_later(site: Site, balsam: Balsam, home: Path) -> None:
    log = home / "runs" / "log" / "service_2026-05-01_100000.log"
    head = "2026-05-01 10:00:00.250 | 77 | INFO | balsam.x:12] "
    log.write_text(f"{head}job 7 is here\n")
    command = [*INTERRUPTIBLE, "site", "logs", "-f", "--job", "7"]
    with (home / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ)
    try:
        wait_until(lambda: "job 7 is here" in (home / "said").read_text())
        with log.open("a") as file:
            file.write(f"{head}job 8 is here\n{head}job 7 \x1b[2J is gone\n")
        wait_until(lambda: "is gone" in (home / "said").read_text())
        assert "job 8" not in (home / "said").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
