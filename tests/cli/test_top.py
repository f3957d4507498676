"""`balsam top`, driven by its keys, against a real server with an agent, a launcher and jobs that run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Log, Static

from balsam.api import ApplicationDefinition, BatchJob, Job, JobState, Site
from balsam.cli.live import rows
from balsam.cli.live.app import TopApp
from balsam.cli.live.job import JobScreen
from balsam.cli.live.jobs import JobsScreen
from balsam.cli.live.output import OutputScreen
from balsam.cli.live.overview import OverviewScreen
from balsam.cli.live.screens import Question
from balsam.cli.live.source import pause
from balsam.cli.live.table import LiveTable
from balsam.client.transport import Client
from tests.cli.campaign import Campaign, make
from tests.cli.conftest import Balsam
from tests.machines.terminal import Terminal
from tests.waiting import wait_until

SIZE = (140, 40)
Drive = Callable[[TopApp, Pilot[None]], Awaitable[None]]


def drive(client: Client, steps: Drive) -> None:
    """Runs the application without a terminal, and `steps` beside it."""

    async def run() -> None:
        app = TopApp(client, every=0.5)
        async with app.run_test(size=SIZE) as pilot:
            await steps(app, pilot)

    asyncio.run(run())


async def until(condition: Callable[[], object], app: TopApp, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, shown(app)
        await asyncio.sleep(0.05)


def shown(app: TopApp) -> str:
    """The texts of the topmost screen."""
    texts = [str(one.render()) for one in app.screen.query(Static)]
    for table in app.screen.query(LiveTable):
        texts += ["  ".join(str(one) for one in table.get_row_at(n)) for n in range(table.row_count)]
    texts += ["\n".join(log.lines) for log in app.screen.query(Log)]
    return "\n".join(texts)


def row_of(app: TopApp, table: str, text: str) -> int:
    found = app.screen.query_one(f"#{table}", LiveTable)
    return next(n for n in range(found.row_count) if text in map(str, found.get_row_at(n)))


@pytest.fixture
def campaign(client: Client, balsam: Balsam, home: Path) -> Campaign:
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    return make("laptop")


def test_the_overview_shows_sites_allocations_and_failures_and_follows(
    campaign: Campaign, client: Client
) -> None:
    allocation = BatchJob.objects.create(1, 10, "serial", campaign.site.id, "local", "local")

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await until(lambda: "no such mesh" in shown(app), app)
        text = shown(app)
        assert "5 jobs: 1 AWAITING_PARENTS, 3 PREPROCESSED, 1 FAILED" in text
        assert "1 started, 0 finished, 1 failed" in text
        assert "laptop" in text and "balsam site start" in text
        assert f"{allocation.id}  laptop  pending_submission  1  serial" in text
        campaign.three.kill()
        await until(lambda: "2 FAILED" in shown(app), app, timeout=10)  # long before the safety poll
        await pilot.press("q")

    drive(client, steps)


def test_enter_goes_from_site_to_jobs_to_job_and_escape_back(campaign: Campaign, client: Client) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await until(lambda: "laptop" in shown(app), app)
        await pilot.press("enter")
        await until(
            lambda: isinstance(app.screen, JobsScreen) and "Jobs of site laptop: 5" in shown(app), app
        )
        table = app.screen.query_one("#jobs", LiveTable)
        table.move_cursor(row=row_of(app, "jobs", str(campaign.four.id)))
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, JobScreen) and "AWAITING_PARENTS" in shown(app), app)
        assert f"Job {campaign.four.id} of Hello at laptop" in shown(app)
        assert str(campaign.one.id) in shown(app)  # why it waits
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, JobsScreen), app)
        assert table.selected == str(campaign.four.id)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, OverviewScreen), app)
        app.screen.query_one("#failures", LiveTable).focus()
        await pilot.press("enter")
        await until(lambda: f"Job {campaign.failed.id} of Hello" in shown(app), app)
        assert "no such mesh" in shown(app)

    drive(client, steps)


def test_jobs_are_filtered(campaign: Campaign, client: Client) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await until(lambda: "laptop" in shown(app), app)
        await pilot.press("a")
        await until(lambda: "Jobs: 5" in shown(app), app)
        await pilot.press("slash")
        app.screen.query_one(Input).value = "lane=b awaiting_parents"
        await pilot.press("enter")
        await until(lambda: "Jobs of filter lane=b awaiting_parents: 1" in shown(app), app)
        assert row_of(app, "jobs", str(campaign.four.id)) == 0
        await pilot.press("slash")
        app.screen.query_one(Input).value = "one two"
        await pilot.press("enter")
        await until(lambda: app._notifications, app)
        await pilot.press("escape", "escape")
        await until(lambda: isinstance(app.screen, OverviewScreen), app)

    drive(client, steps)


def test_kill_and_retry_ask_first(campaign: Campaign, client: Client) -> None:
    def state(job: Job) -> JobState:
        job.refresh_from_db()
        return job.state

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        async def asked(*keys: str) -> str:
            await pilot.press(*keys)
            await until(lambda: isinstance(app.screen, Question), app)
            return shown(app)

        await until(lambda: "laptop" in shown(app), app)
        await pilot.press("a")
        await until(lambda: "Jobs: 5" in shown(app), app)
        table = app.screen.query_one("#jobs", LiveTable)
        table.move_cursor(row=row_of(app, "jobs", str(campaign.two.id)))
        assert f"Kill job {campaign.two.id}?" in await asked("k")
        await pilot.press("n")
        await until(lambda: isinstance(app.screen, JobsScreen), app)
        assert state(campaign.two) is JobState.preprocessed
        await asked("k")
        await pilot.press("y")
        await until(lambda: state(campaign.two) is JobState.failed, app)
        await until(lambda: "FAILED" in str(table.get_row_at(row_of(app, "jobs", str(campaign.two.id)))), app)
        assert "Retry 2 jobs?" in await asked("R")
        await pilot.press("y")
        await until(lambda: state(campaign.failed) is JobState.restart_ready, app)
        assert state(campaign.two) is JobState.preprocessed
        assert "Kill 5 jobs?" in await asked("K")
        await pilot.press("escape")
        await pilot.pause()
        assert state(campaign.one) is JobState.preprocessed

    drive(client, steps)


@pytest.fixture
def working(client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job that a launcher runs: it writes and waits for a file."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    monkeypatch.setenv("BALSAM_SITE_PATH", str(home / "runs"))

    class Talk(ApplicationDefinition):
        site = "laptop"
        command_template = "echo 'one [bold]two[/bold]'; while [ ! -e go ]; do sleep 0.1; done; echo three"

    Talk.sync()
    site = Site.objects.get(name="laptop")
    job = Talk.submit("talk")
    BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
    assert balsam("site", "start").status == 0
    try:
        wait_until(lambda: Job.objects.get(id=job.id).state is JobState.running, timeout=60)
        yield job
    finally:
        balsam("site", "stop")


def test_a_running_jobs_output_is_followed(working: Job, client: Client, home: Path) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await until(lambda: "1 RUNNING" in shown(app) and "works" in shown(app), app)
        assert "nodes allocated: 1" in shown(app)
        app.screen.query_one("#allocations", LiveTable).focus()
        await pilot.press("enter")
        await until(lambda: "Jobs of BatchJob" in shown(app) and "RUNNING" in shown(app), app)
        await pilot.press("t")
        await until(lambda: isinstance(app.screen, OutputScreen) and "one [bold]two" in shown(app), app)
        (home / "runs" / "data" / "talk" / "go").touch()
        await until(lambda: "three" in shown(app) and "has ended" in shown(app), app)
        await pilot.press("escape")
        await until(lambda: "JOB_FINISHED" in shown(app), app)

    drive(client, steps)


def test_a_view_costs_one_request_when_something_changes_and_none_else(
    campaign: Campaign, client: Client
) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await until(lambda: "5 jobs" in shown(app), app)
        await asyncio.sleep(3.0)  # the stream has greeted, and the screen has looked
        looks: list[float] = []
        look = app.source.overview

        def counted() -> Any:
            looks.append(time.monotonic())
            return look()

        app.source.overview = counted  # type: ignore[method-assign]  # it still looks
        await asyncio.sleep(2.0)
        assert looks == []
        for n in range(20):
            campaign.one.tags = {"n": str(n)}
            campaign.one.save()
        campaign.three.kill()
        await until(lambda: "2 FAILED" in shown(app), app)
        assert 1 <= len(looks) <= 4

    drive(client, steps)


def test_a_job_that_is_gone_and_a_view_that_fails_are_said(campaign: Campaign, client: Client) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        app.push_screen(JobScreen(987654321))
        await until(lambda: "Job 987654321 has been removed." in shown(app), app)
        app.push_screen(JobsScreen({"colour": "red"}, {}))  # nothing that the server's jobs can be chosen by
        await until(lambda: app.return_code == 1, app)

    drive(client, steps)


def test_it_runs_in_a_terminal_and_ends_by_its_key(campaign: Campaign, home: Path) -> None:
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    with Terminal([sys.executable, "-m", "balsam.cli.main", "top"], environment) as terminal:
        wait_until(lambda: "laptop" in terminal.text, timeout=60, on_timeout=lambda: terminal.text)
        os.write(terminal._ours, b"q")
        assert terminal.process.wait(30) == 0


def test_without_a_terminal_or_the_package_the_remedy_is_named(client: Client, balsam: Balsam) -> None:
    said = balsam("top")
    assert said.status == 1 and "--json" in said.err
    without = (
        "import sys; sys.modules['textual'] = None; from balsam.cli.main import run; run(['top'], False)"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True)
    assert "pip install 'balsam[top]'" in done.stderr


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("", {}),
        ("failed RUNNING", {"state": [JobState.failed, JobState.running]}),
        ("a=b c=d=e", {"tags": {"a": "b", "c": "d=e"}}),
        ("12 3", {"id": [12, 3]}),
        ("'my folder/x' FAILED", {"workdir__contains": "my folder/x", "state": [JobState.failed]}),
    ],
)
def test_words_of_a_filter(text: str, filters: dict[str, object]) -> None:
    assert rows.parsed_filter(text) == filters


@pytest.mark.parametrize("text", ["one two", "'unclosed"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(ValueError, match=r"workdir|quotation"):
        rows.parsed_filter(text)


def test_a_slow_server_is_asked_less_often() -> None:
    assert pause(0.01, 2.0) == 2.0
    assert pause(1.5, 2.0) == 30.0
