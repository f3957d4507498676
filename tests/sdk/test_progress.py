"""A live bar of jobs that end: in a terminal, without one, and as a notebook's output would have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from balsam.api import Job
from tests.sdk.moves import fail, finish

MakeJobs = Callable[..., list[Job]]


def test_progress_returns_when_all_have_ended(make_jobs: MakeJobs, capfd: pytest.CaptureFixture[str]) -> None:
    jobs = make_jobs(4)
    ends = threading.Thread(target=_end_all, args=(list(jobs),))
    ends.start()
    done, not_done = Job.objects.progress(Job.objects.all(), timeout=20, poll_interval=1000)
    ends.join()
    assert [job.id for job in done] == [job.id for job in jobs] and not_done == []
    out, err = capfd.readouterr()
    assert out == "" and "4/4" in err and "1 failed" in err and "jobs" in err


def _end_all(jobs: list[Job]) -> None:
    for job in jobs[1:]:
        finish(job, None)
    fail(jobs[0], ValueError("no"))


def test_progress_stops_at_its_time(make_jobs: MakeJobs, capfd: pytest.CaptureFixture[str]) -> None:
    jobs = make_jobs(2)
    finish(jobs[0], 1)
    begun = time.monotonic()
    done, not_done = Job.objects.progress(jobs, timeout=0.2, description="[red]mine[/]")
    assert time.monotonic() - begun < 5
    assert (done, not_done) == ([jobs[0]], [jobs[1]])
    err = capfd.readouterr().err
    assert "1/2" in err and "failed" not in err and "[red]mine[/]" in err


def test_progress_of_nothing(make_jobs: MakeJobs) -> None:
    assert Job.objects.progress([]) == ([], [])
