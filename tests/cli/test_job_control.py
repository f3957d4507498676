"""`balsam job kill`, `balsam job tail` and `balsam queue drain`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.api import ApplicationDefinition, BatchJob, Job, JobState, Session, Site
from balsam.cli.printable import printable
from balsam.cli.table import render
from balsam.client.transport import Client
from tests.cli.conftest import Balsam
from tests.machines.terminal import Terminal
from tests.waiting import wait_until

NASTY = "\x1b[2Jred \x1b]0;title\x07\x9b1m\r50 %\r100 %\ttab\n"


@pytest.fixture
def site(client: Client, balsam: Balsam, home: Path) -> Site:
    """The user's only site, with one app."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0

    class Sleep(ApplicationDefinition):
        site = "laptop"
        command_template = "sleep 600"

    Sleep.sync()
    return Site.objects.get(name="laptop")


@pytest.fixture
def jobs(site: Site) -> list[Job]:
    found = [Job(f"w/{n}", "Sleep", tags={"set": "even" if n % 2 == 0 else "odd"}) for n in range(4)]
    return Job.objects.bulk_create(found)


@pytest.fixture
def agent(site: Site, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The site's agent works; the site's folder."""
    monkeypatch.setenv("BALSAM_SITE_PATH", str(home / "runs"))
    assert balsam("site", "start").status == 0
    wait_until(lambda: Session.objects.all().first() is not None)
    yield home / "runs"
    balsam("site", "stop")


def states(jobs: list[Job]) -> list[str]:
    return ["killed" if job.state is JobState.failed else "not" for job in Job.objects.bulk_refresh(jobs)]


def test_kill_takes_ids_as_words_and_as_options(jobs: list[Job], balsam: Balsam) -> None:
    said = balsam("job", "kill", jobs[0].id, "--id", f"{jobs[2].id},{jobs[3].id}", "--yes")
    assert (said.status, said.out) == (0, "3 jobs killed.\n")
    assert states(jobs) == ["killed", "not", "killed", "killed"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tag", "set=odd"], ["not", "killed", "not", "killed"]),
        (["-w", "w/2"], ["not", "not", "killed", "not"]),
        (["-a", "Sleep", "-t", "set=even"], ["killed", "not", "killed", "not"]),
        (["-s", "PREPROCESSED"], ["killed"] * 4),
        (["-s", "RUNNING"], ["not"] * 4),
        (["-ns", "FAILED", "--site", "laptop"], ["killed"] * 4),
    ],
)
def test_kill_takes_the_filters_of_ls(
    jobs: list[Job], balsam: Balsam, words: list[str], expected: list[str]
) -> None:
    said = balsam("job", "kill", *words, "-y")
    assert said.status == 0, said.err
    assert states(jobs) == expected
    assert said.out.startswith(f"{expected.count('killed')} job")


def test_kill_asks_with_the_number_of_jobs_that_have_not_ended(jobs: list[Job], balsam: Balsam) -> None:
    jobs[0].kill()
    said = balsam("job", "kill", "-w", "w/")
    assert said.status == 2
    assert "Kill 3 jobs?" in said.err and "-y" in said.err
    assert states(jobs).count("killed") == 1
    said = balsam("job", "kill", "-w", "w/", "-y")
    assert said.out == "3 jobs killed.\n1 job had ended before.\n"
    assert balsam("job", "kill", jobs[0].id).out == "0 jobs killed.\n1 job had ended before.\n"


def test_kill_without_a_choice_or_of_nothing_is_refused(jobs: list[Job], balsam: Balsam) -> None:
    said = balsam("job", "kill", "-y")
    assert said.status == 2 and "--tag" in said.err
    said = balsam("job", "kill", 987654321, "-y")
    assert said.status == 1 and "no job 987654321" in said.err
    assert states(jobs) == ["not"] * 4


def test_kill_says_why_some_have_not_yet_ended(site: Site, jobs: list[Job], balsam: Balsam) -> None:
    session = Session.objects.create(site.id, fenced=True, num_nodes=1)
    [held] = session.acquire_jobs(1)
    said = balsam("job", "kill", held.id, "-y", "--timeout", 0.1)
    assert said.status == 0
    first, late, why = said.out.splitlines()
    assert first == "0 jobs killed."
    assert late.startswith("1 job not yet ended")
    assert f"session {session.id}" in why and "last heartbeat" in why


def test_tail_shows_the_end_of_the_output(agent: Path, jobs: list[Job], balsam: Balsam) -> None:
    assert (balsam("job", "tail", jobs[0].id).out, balsam("job", "tail", 987654321).status) == ("", 1)
    output = agent / "data" / "w" / "0" / "job.out"
    output.parent.mkdir(parents=True)
    output.write_text("one\ntwo\nthree")
    jobs[0].kill()
    assert balsam("job", "tail", jobs[0].id, "-n", 2).out == "two\nthree"
    assert balsam("job", "tail", "-f", jobs[0].id).out == "one\ntwo\nthree"


def test_a_terminal_gets_no_control_characters_unless_asked_for(
    agent: Path, jobs: list[Job], balsam: Balsam
) -> None:
    output = agent / "data" / "w" / "0" / "job.out"
    output.parent.mkdir(parents=True)
    output.write_text(NASTY, newline="")
    jobs[0].kill()
    assert balsam("job", "tail", jobs[0].id).out == NASTY  # no terminal
    for words, expected in (
        ([], b"\\x1b[2Jred \\x1b]0;title\\x07\\x9b1m\r50 %\r100 %\ttab\r\n"),
        (["--raw"], NASTY.encode().replace(b"\n", b"\r\n")),
    ):
        command = [sys.executable, "-m", "balsam.cli.main", "job", "tail", str(jobs[0].id), *words]
        with Terminal(command, os.environ) as terminal:
            assert terminal.process.wait(60) == 0
        # Leaving the block waits until all of it is read.
        assert terminal._shown == expected


def test_drain_of_an_allocation_that_is_not_there_names_the_remedy(site: Site, balsam: Balsam) -> None:
    said = balsam("queue", "drain", 987654321)
    assert said.status == 1 and "no BatchJob 987654321" in said.err
    batch_job = BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
    said = balsam("queue", "drain", batch_job.id)
    assert said.status == 1 and f"balsam queue term --id {batch_job.id}" in said.err


def test_drain_names_launchers_that_do_not_answer(site: Site, balsam: Balsam) -> None:
    batch_job = BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
    session = Session.objects.create(site.id, batch_job.id, fenced=True, num_nodes=1)
    said = balsam("queue", "drain", batch_job.id)
    assert said.status == 0
    assert said.out.startswith(f"BatchJob {batch_job.id}: 0 launchers will end")
    assert (
        f"Not yet: the launcher of BatchJob {batch_job.id} (session {session.id}) has not answered"
        in said.out
    )


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\x1b[1m\x00\r\x9b\x7fé\t\n") == "a\\x1b[1m\\x00\\x0d\\x9b\\x7fé\t\n"
    assert printable("5 %\r6 %", keep_returns=True) == "5 %\r6 %"
    assert "\x1b" not in render(["Workdir"], [["w/\x1b[2J"]])
