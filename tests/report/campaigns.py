"""A small campaign on a server, with all that a report tells, and with texts that want to be more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from balsam.api import App, BatchJob, Job, JobState, Session, Site

SCRIPT = "<script>document.title = 'owned'</script>"
IMAGE = "<img src=x onerror=\"document.title='owned'\">"
TAG = f"'\"><b>bold</b>{SCRIPT}"
TAIL = f"before\n</pre></details>{SCRIPT}{IMAGE}\nMemoryError: no room for 17 [bold red]things[/] \x1b[2J"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


def make(num_jobs: int = 12) -> dict[str, str]:
    """Of every four jobs three finish on two nodes and one fails; one more waits. Their tags."""
    tags = {"campaign": "hostile"}
    site = Site.objects.create("lab", "/home/me/lab")
    app = App.objects.create(site.id, f"Sim{IMAGE}", "", "", hooks=[])
    batch_job = BatchJob.objects.create(2, 60, "mpi", site, "physics", "q")
    Job.objects.bulk_create(
        [
            Job(
                f"sims/{number}{IMAGE if number == 3 else ''}",
                app.id,
                tags={**tags, "size": str(number % 3), "note": TAG if number == 3 else "none"},
            )
            for number in range(num_jobs)
        ]
    )
    lease = Session.objects.create(site, batch_job.id, fenced=True, num_nodes=2, started=START)
    for number, job in enumerate(lease.acquire_jobs(num_jobs)):
        _run(job, number, fails=number % 4 == 3)
    lease.delete()
    Job.objects.create("sims/waiting", app.id, tags=tags)
    return tags


def _run(job: Job, number: int, fails: bool) -> None:
    start = START + timedelta(seconds=10 + 20 * (number // 2))
    _move(job, JobState.running, start, nodes=[f"node{number % 2}"], cpus=4.0, gpus=1.0)
    end = start + timedelta(seconds=15 + number / 10)
    if fails:
        _move(job, JobState.run_error, end, returncode=1, error=TAIL)
    else:
        _move(job, JobState.run_done, end)


def _move(job: Job, state: JobState, at: datetime, **data: object) -> None:
    job.state = state
    job.state_timestamp = at  # type: ignore[assignment]
    job.state_data = data
    job.save()
