"""The bulk figures: jobs created, acquired, started and ended, from SDK objects in to SDK objects out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from balsam.api import Job, Session, Site
from balsam.client.jobs import patch_jobs
from balsam.client.transport import Client
from balsam.core.clock import now_us
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.core.states import JobState
from balsam.runtime.updates import Update
from balsam.sdk.context import use_client
from benchmarks.server_apps import SITE, Simulate

CREATE, ACQUIRE, START, END = "create", "acquire", "start", "end"
STEPS = {
    CREATE: "bulk_create",
    ACQUIRE: "acquire, 1,024 a call",
    START: "bulk PREPROCESSED to RUNNING",
    END: "bulk RUN_DONE to JOB_FINISHED",
}
ACQUIRED_AT_ONCE = 1_024
T = TypeVar("T")


def set_up(client: Client) -> int:
    """Registers the site and the app; the site's id."""
    with use_client(client):
        site = Site.objects.create(name=SITE, path="/somewhere/benchmark")
        Simulate.sync()
    return int(site.id)


def run(
    client: Client, site_id: int, count: int, on_step: Callable[[str], Any] = lambda step: None
) -> dict[str, float]:
    """Takes new jobs from creation to their end; the seconds of each step for all of them.

    `on_step` is told of each step before it begins, and of the end by an empty name.
    """
    with use_client(client):
        session = Session.objects.create(site_id, fenced=True, num_nodes=1)
        jobs, held = new_jobs(count), list[Job]()
        actions: dict[str, Callable[[], Any]] = {
            CREATE: lambda: look_at(Job.objects.bulk_create(jobs)),
            ACQUIRE: lambda: held.extend(look_at(acquire_all(session, count))),
            START: lambda: report(client, session.id, started(held)),
            END: lambda: report(client, session.id, ended(held)),
        }
        seconds = {}
        for step, act in actions.items():
            on_step(step)
            seconds[step] = timed(act)
        on_step("")
        _check(held[0], held[-1])
        session.delete()
    return seconds


def timed(act: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def new_jobs(count: int) -> list[Job]:
    """With parameters and two tags, as a parameter study has them."""
    return [
        Simulate.submit(
            f"study/{number}",
            tags={"campaign": "benchmark", "sample": str(number % 1_000)},
            steps=number,
            name=f"input-{number}.dat",
            save=False,
        )
        for number in range(count)
    ]


def look_at(jobs: list[Job]) -> list[Job]:
    """Reads what every user reads, since objects parse their fields when they are asked for them."""
    for job in jobs:
        assert job.id and job.state
    return jobs


def acquire_all(session: Session, count: int) -> list[Job]:
    acquired: list[Job] = []
    while len(acquired) < count:
        some = session.acquire_jobs(ACQUIRED_AT_ONCE)
        if not some:
            raise SystemExit(f"only {len(acquired)} of {count} jobs could be acquired")
        acquired += some
    return acquired


def started(jobs: Iterable[Job]) -> list[Update]:
    """What a launcher tells of each run that it starts."""
    data = {"num_nodes": 1.0, "nodes": ["localhost"], "cpus": 1.0, "gpus": 0}
    return [Update(job.id, JobState.running, now_us(), data) for job in jobs]


def ended(jobs: Iterable[Job]) -> list[Update]:
    """What a launcher tells of each run that ended well; the server moves the jobs on to JOB_FINISHED."""
    fields = {"return_code": 0}
    return [Update(job.id, JobState.run_done, now_us(), {"returncode": 0}, fields) for job in jobs]


def report(client: Client, session_id: int, updates: Sequence[Update]) -> None:
    """As a launcher's courier does it."""
    for part in parts(updates, MAX_ITEMS_PER_BULK_OP):
        applied, refused = patch_jobs(client, [update.body(0) for update in part], session_id)
        if refused or applied != len(part):
            raise SystemExit(f"{len(part) - applied} updates were refused: {refused[:3]}")


def parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _check(*jobs: Job) -> None:
    for job in jobs:
        job.refresh_from_db()
        if job.state is not JobState.job_finished or job.num_runs != 1:
            raise SystemExit(f"{job} should have run once and finished: {job.state}, {job.num_runs} runs")
