"""A log of events as a large campaign leaves it: many of most kinds, and a few of some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from balsam.api import BatchJob
from balsam.client.transport import Client
from balsam.core.states import JobState
from balsam.sdk.context import use_client
from benchmarks import bulk, grown, serving

JOBS_PER_BATCH_JOB = 1_000
FIRST_BATCH_JOB = 1_000  # above the model's
FAILURES = 10_000  # one job of so many fails
TIMEOUTS = 3  # the oldest jobs run into their wall time
# Tags of the oldest jobs: of five, of a thousandth, and of a tenth of all.
PILOT, MONTH, SEASON = {"pilot": "yes"}, {"month": "first"}, {"season": "first"}
PILOTS = 5
NEIGHBOUR_JOBS = 50


@dataclass(frozen=True)
class Log:
    """What was filled in."""

    jobs: int
    events: int
    site_id: int
    quiet_site_id: int
    batch_job_id: int
    first_job_id: int
    last_job_id: int

    @property
    def middle_job_id(self) -> int:
        return (self.first_job_id + self.last_job_id) // 2


def fill(server: serving.Serving, client: Client, jobs: int, neighbour: Client | None = None) -> Log:
    """A log of `jobs` finished jobs, six events each, beside which the neighbour has a few."""
    site_id = bulk.set_up(client)
    large = grown.fill(server, client, site_id, jobs, _differing(jobs))
    conn = server.connect()
    _add_batch_jobs(conn, client, site_id, -(-jobs // JOBS_PER_BATCH_JOB))
    for tag, count in ((PILOT, PILOTS), (MONTH, jobs // 100), (SEASON, jobs // 10)):
        _tag_the_oldest(conn, tag, count)
    if server.engine == serving.POSTGRESQL:
        conn.execute("VACUUM ANALYZE job_tags")
    conn.close()
    if neighbour is not None:
        bulk.run(neighbour, bulk.set_up(neighbour), NEIGHBOUR_JOBS)
    return Log(
        jobs=jobs,
        events=jobs * grown.EVENTS_PER_JOB,
        site_id=site_id,
        quiet_site_id=large.quiet_site_id,
        batch_job_id=FIRST_BATCH_JOB + jobs // JOBS_PER_BATCH_JOB // 2,
        first_job_id=grown.FIRST_ID,
        last_job_id=grown.FIRST_ID + jobs - 1,
    )


def _tag_the_oldest(conn: Any, tag: dict[str, str], count: int) -> None:
    [(key, value)] = tag.items()
    conn.execute(
        "INSERT INTO job_tags (owner_id, key, value, job_id)"
        f" SELECT owner_id, '{key}', '{value}', id FROM jobs"
        f" WHERE id >= {grown.FIRST_ID} AND id < {grown.FIRST_ID + count}"
    )


def _differing(jobs: int) -> dict[str, dict[str, str]]:
    """Which jobs ended how, and in which BatchJob, as SQL of a job's number `n` and an event's `rank`."""
    end = (
        f"CASE WHEN n < {TIMEOUTS} THEN 'RUN_TIMEOUT'"
        f" WHEN n % {FAILURES} = {FAILURES // 2} THEN 'RUN_ERROR' ELSE 'RUN_DONE' END"
    )
    state = f"CASE {end} WHEN 'RUN_DONE' THEN '{JobState.job_finished}' ELSE '{JobState.failed}' END"
    batch_job = f"{FIRST_BATCH_JOB} + n / {JOBS_PER_BATCH_JOB}"
    events = {
        "batch_job_id": f"CASE WHEN rank >= 4 THEN {batch_job} END",
        "to_state": f"CASE rank WHEN 5 THEN {end} WHEN 6 THEN {state} ELSE model.to_state END",
        "from_state": f"CASE rank WHEN 6 THEN {end} ELSE model.from_state END",
    }
    return {
        "jobs": {"state": state, "batch_job_id": batch_job},
        "events": events,
        "runs": {"end_state": end, "batch_job_id": batch_job},
    }


def _add_batch_jobs(conn: Any, client: Client, site_id: int, count: int) -> None:
    with use_client(client):
        model = BatchJob.objects.create(
            num_nodes=1, wall_time_min=60, job_mode="mpi", site_id=site_id, project="p", queue="q"
        )
    columns = [column[0] for column in conn.execute("SELECT * FROM batch_jobs LIMIT 0").description]
    differing = {"id": "numbers.n", "scheduler_id": "numbers.n", "state": "'finished'"}
    values = ", ".join(differing.get(column, f'model."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    numbers = f"SELECT id AS n FROM jobs WHERE id >= {FIRST_BATCH_JOB} AND id < {FIRST_BATCH_JOB + count}"
    conn.execute(
        f"INSERT INTO batch_jobs ({names}) SELECT {values} FROM ({numbers}) AS numbers"
        f" CROSS JOIN (SELECT * FROM batch_jobs WHERE id = {int(model.id)}) AS model"
    )
