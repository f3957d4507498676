"""How fast a fresh Balsam is on this machine: creating jobs, running them, and answering one.

    python benchmarks/first_light.py [--quick] [--json FILE]

Everything runs in a temporary folder with a server, a site and an agent of its own. Rows are compared with
a bare loop of subprocesses, two at a time, that is run in the same session.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.report import Row, less_is_better, more_is_better

SLOTS = 2
RUN_TIMEOUT_SEC = 600.0


@dataclass(frozen=True)
class Sizes:
    """How many jobs each part uses."""

    created: int
    shell: int
    python: int
    latency: int


FULL = Sizes(created=10_000, shell=1_000, python=1_000, latency=30)
QUICK = Sizes(created=2_000, shell=150, python=150, latency=7)


def measure(sizes: Sizes) -> list[Row]:
    """All rows, in a site of their own."""
    bare_rate, bare_seconds = bare_loop(sizes.shell)
    with (
        tempfile.TemporaryDirectory(prefix="balsam-first-light-") as folder,
        own_site(Path(folder)) as site_id,
    ):
        from benchmarks.first_light_apps import Nothing, NothingPython

        Nothing.sync()
        NothingPython.sync()
        created = created_per_second(sizes.created)
        with launcher(site_id):
            shell = finished_per_second(Nothing, "shell", sizes.shell)
            python = finished_per_second(NothingPython, "python", sizes.python)
            latency = median_latency(sizes.latency)
    return [
        more_is_better("jobs created", created, "jobs/s", None, 1_150),
        more_is_better("no-op shell jobs finished", shell, "jobs/s", bare_rate, 60),
        more_is_better("no-op run() jobs finished", python, "jobs/s", bare_rate, 2),
        less_is_better("submit() to JOB_FINISHED, idle launcher, median", latency, "s", bare_seconds, 6),
    ]


def bare_loop(count: int) -> tuple[float, float]:
    """Processes per second, two at a time, and the median seconds of one."""

    def one(_: int) -> float:
        begin = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        return time.perf_counter() - begin

    begin = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as pool:
        seconds = list(pool.map(one, range(count)))
    return count / (time.perf_counter() - begin), statistics.median(seconds)


@contextmanager
def own_site(folder: Path) -> Iterator[int]:
    """A server, a site and its agent in a folder; the site's id."""
    os.environ["BALSAM_CLIENT_PATH"] = str(folder / "server" / "client.yml")
    os.environ.pop("BALSAM_SITE_PATH", None)
    from balsam.runtime.site_folder import create_site_folder
    from balsam.sdk.context import default_client
    from balsam.server import daemon
    from balsam.site.processes import start_agent, stop_agent

    daemon.start(folder / "server")
    try:
        site = create_site_folder(folder / "site", "first-light", default_client())
        report = start_agent(site)
        if not report.started:
            raise SystemExit(report.sentence)
        try:
            yield site.site_id
        finally:
            stop_agent(site)
    finally:
        daemon.stop(folder / "server")


@contextmanager
def launcher(site_id: int) -> Iterator[None]:
    """One node that runs jobs with the tag `run=yes`; ready when its first job has finished."""
    from balsam.api import BatchJob, Job, JobMode
    from benchmarks.first_light_apps import Nothing, NothingPython

    allocation = BatchJob.objects.create(
        num_nodes=1,
        wall_time_min=30,
        job_mode=JobMode.serial,
        site_id=site_id,
        project="local",
        queue="local",
        filter_tags={"run": "yes"},
    )
    first = [app.submit("warm-up", tags={"run": "yes"}) for app in (Nothing, NothingPython)]
    Job.objects.wait(first, timeout=RUN_TIMEOUT_SEC)
    try:
        yield
    finally:
        allocation.refresh_from_db()
        allocation.state = "pending_deletion"  # type: ignore[assignment]
        allocation.save()
        deadline = time.monotonic() + 30
        while allocation.state != "finished" and time.monotonic() < deadline:
            time.sleep(0.1)
            allocation.refresh_from_db()


def created_per_second(count: int) -> float:
    """Jobs per second by one bulk call; nothing runs them."""
    from balsam.api import Job
    from benchmarks.first_light_apps import Nothing

    jobs = [Nothing.submit(f"created/{number}", save=False) for number in range(count)]
    begin = time.perf_counter()
    Job.objects.bulk_create(jobs)
    return count / (time.perf_counter() - begin)


def finished_per_second(app: type, name: str, count: int) -> float:
    """Jobs per second from the first start to the last end, as the server recorded them."""
    from balsam.analytics import throughput_report
    from balsam.api import EventLog, Job

    tags = {"run": "yes", "part": name}
    jobs = [
        app.submit(f"{name}/{number}", tags=tags, node_packing_count=SLOTS, save=False)  # type: ignore[attr-defined]
        for number in range(count)
    ]
    Job.objects.wait(Job.objects.bulk_create(jobs), timeout=RUN_TIMEOUT_SEC)
    events = EventLog.objects.filter(tags=tags)
    started, _ = throughput_report(events, to_state="RUNNING")
    finished, counts = throughput_report(events, to_state="JOB_FINISHED")
    if not counts or counts[-1] != count:
        raise SystemExit(f"{counts[-1] if counts else 0} of {count} {name} jobs finished: see the site's log")
    return count / float((finished[-1] - started[0]).total_seconds())


def median_latency(count: int) -> float:
    """Seconds from the call of submit() to the JOB_FINISHED event, one job at a time."""
    from datetime import UTC, datetime

    from balsam.api import EventLog, Job
    from benchmarks.first_light_apps import Nothing

    seconds = []
    for number in range(count):
        begin = datetime.now(UTC)
        job = Nothing.submit(f"latency/{number}", tags={"run": "yes"}, node_packing_count=SLOTS)
        Job.objects.wait([job], timeout=RUN_TIMEOUT_SEC)
        [end] = EventLog.objects.filter(job_id=job.id, to_state="JOB_FINISHED")
        seconds.append(float((end.timestamp - begin).total_seconds()))
    return statistics.median(seconds)


def main() -> int:
    options = report.parser(__doc__).parse_args()
    return report.publish(measure(QUICK if options.quick else FULL), options.json, "bare loop")


if __name__ == "__main__":
    sys.exit(main())
