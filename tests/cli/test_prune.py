"""`balsam server prune` as an operator calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from balsam.analytics import totals
from balsam.api import App, Job, JobState, Site
from balsam.client.transport import Client
from balsam.server import daemon
from balsam.store.database import Database
from balsam.store.tables import jobs
from tests.cli.conftest import Balsam

DAY_US = 86_400_000_000


@pytest.fixture
def old_jobs(client: Client, server: daemon.ServerStatus) -> list[Job]:
    """Two that failed a hundred days ago, on the running server."""
    site = Site.objects.create("laptop", "/laptop")
    app = App.objects.create(site.id, "A", "", "", hooks=[])
    made = [Job.objects.create(f"w/{n}", app.id) for n in range(3)]
    for job in made[:2]:
        job.state = JobState.failed
        job.save()
    db = Database(f"sqlite:///{server.data / 'balsam.db'}")
    with db.write() as tx:
        past = jobs.c.last_update - 100 * DAY_US
        tx.conn.execute(update(jobs).values(last_update=past))
    db.close()
    return made


def test_old_jobs_are_counted_then_removed_while_the_server_runs(
    old_jobs: list[Job], balsam: Balsam, server: daemon.ServerStatus
) -> None:
    where = ("--older-than", "90d", "--data", server.data)
    dry = balsam("server", "prune", *where, "--dry-run")
    assert dry.status == 0 and "2 jobs, 6 events, 0 runs" in dry.out
    refused = balsam("server", "prune", *where)
    assert refused.status == 2 and "repeat with -y" in refused.err
    assert Job.objects.count() == 3
    done = balsam("server", "prune", *where, "-y")
    assert done.status == 0 and "Removed 2 jobs, 6 events, 0 runs." in done.out
    assert [job.id for job in Job.objects.all()] == [old_jobs[2].id]
    assert {row.state: row.jobs for row in totals("state")}["FAILED"] == 2
    again = balsam("server", "prune", *where, "-y")
    assert again.status == 0 and "0 jobs" in again.out and "Removed" not in again.out


def test_younger_ones_stay(old_jobs: list[Job], balsam: Balsam, server: daemon.ServerStatus) -> None:
    assert "0 jobs" in balsam("server", "prune", "--older-than", "15w", "--data", server.data, "-y").out
    assert Job.objects.count() == 3


@pytest.mark.parametrize("age", ["90", "0d", "5m", "-3d", "d"])
def test_ages_are_of_days_weeks_or_years(age: str, balsam: Balsam) -> None:
    said = balsam("server", "prune", "--older-than", age)
    assert said.status == 2 and "90d, 12w or 1y" in said.err


def test_an_age_beyond_the_calendar_is_refused(balsam: Balsam) -> None:
    said = balsam("server", "prune", "--older-than", "99999y", "--dry-run")
    assert said.status == 2 and "longer ago than any job" in said.err


def test_without_a_server_it_says_how_to_name_one(balsam: Balsam, home: Path) -> None:
    said = balsam("server", "prune", "--older-than", "1y")
    assert said.status == 1 and "--path or --data" in said.err
