"""`balsam event tail`: the newest events, and those that follow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO

import pytest

from balsam.api import App, EventLog, Job, JobState, Site
from balsam.client.transport import Client
from tests.cli.conftest import Balsam

Follow = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def make(client: Client) -> Callable[..., Job]:
    """Makes a job, which comes with two events."""
    site = Site.objects.create("laptop", "/laptop")
    app = App.objects.create(site.id, "A", "", "", hooks=[])
    return lambda **tags: Job.objects.create("w", app.id, tags=tags)


@pytest.fixture
def follow(client: Client) -> Iterator[Follow]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "balsam.cli.main", "event", "tail", "-f", *words]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def lines(source: IO[str] | None, count: int) -> list[str]:
    assert source is not None
    return [source.readline() for _ in range(count)]


def test_the_newest_oldest_of_them_first(make: Callable[..., Job], balsam: Balsam) -> None:
    jobs = [make() for _ in range(3)]
    shown = balsam("event", "tail", "-n", 3)
    assert shown.status == 0
    assert [f"job {job.id}" in line for line in shown.out.splitlines() for job in jobs[1:]] == [
        *(True, False),
        *(False, True),
        *(False, True),
    ]
    assert "STAGED_IN -> PREPROCESSED" in shown.out
    assert balsam("event", "tail", "-n", 0).out == ""
    assert balsam("event", "tail", "--to-state", "FAILED").out == ""
    assert balsam("event", "tail", "--to-state", "NOWHERE").status == 2


def test_lines_of_json_hold_what_events_hold(make: Callable[..., Job], balsam: Balsam) -> None:
    make()
    shown = [json.loads(line) for line in balsam("event", "tail", "--json").out.splitlines()]
    assert shown == [event.display_dict() for event in EventLog.objects.all().order_by("timestamp")]


def test_lines_of_json_leave_a_terminal_nothing_to_obey(make: Callable[..., Job], balsam: Balsam) -> None:
    job = make()
    job.state, job.state_data = JobState.failed, {"said": "\x1b[2J \x9b2J"}
    job.save()
    said = balsam("event", "tail", "--json", "-n", "1").out
    assert json.loads(said)["data"]["said"] == "\x1b[2J \x9b2J"
    assert said.isascii() and said.rstrip("\n").isprintable()


def test_following_goes_on_from_the_newest(make: Callable[..., Job], follow: Follow) -> None:
    make(kind="other")
    before = make(kind="wanted")
    process = follow("-n", "1", "--json", "-t", "kind=wanted")
    [first] = lines(process.stdout, 1)
    assert json.loads(first)["job_id"] == before.id
    make(kind="other")
    after = make(kind="wanted")
    told = [json.loads(line) for line in lines(process.stdout, 2)]
    assert [(one["job_id"], one["to_state"]) for one in told] == [
        (after.id, "STAGED_IN"),
        (after.id, "PREPROCESSED"),
    ]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
