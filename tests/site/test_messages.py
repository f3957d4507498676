"""Users ask a real agent: for outputs of jobs that no launcher runs, and for the end of hooks."""

from __future__ import annotations

import os
import time

import pytest

from balsam.api import Job
from balsam.client.errors import ServerRefused
from tests.site.bench import Bench
from tests.waiting import wait_until


def job_of(bench: Bench, job_id: int) -> Job:
    return Job.objects.using(bench.client).get(id=job_id)


def agent_sessions(bench: Bench) -> list[int]:
    found = bench.client.get("/sessions/")["results"]
    return [one["id"] for one in found if one["site_id"] == bench.site.site_id]


def test_the_agent_reads_what_a_job_left(bench: Bench) -> None:
    bench.start()
    [job] = bench.jobs(bench.app())
    wait_until(lambda: agent_sessions(bench), on_timeout=bench.log)
    assert job_of(bench, job).tail() == ""
    workdir = bench.workdir(job)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "job.out").write_text("one\ntwo\nthree\n")
    bench.client.put(f"/jobs/{job}", {"state": "FAILED"})
    assert job_of(bench, job).tail(2) == "two\nthree\n"
    assert list(job_of(bench, job).tail(2, follow=True)) == ["two\nthree\n"]


def test_the_agent_answers_after_its_session_was_lost(bench: Bench) -> None:
    bench.start()
    wait_until(lambda: agent_sessions(bench), on_timeout=bench.log)
    [first] = agent_sessions(bench)
    bench.client.delete(f"/sessions/{first}")
    [job] = bench.jobs(bench.app())
    wait_until(lambda: agent_sessions(bench) not in ([], [first]), timeout=60, on_timeout=bench.log)
    bench.workdir(job).mkdir(parents=True, exist_ok=True)
    (bench.workdir(job) / "job.out").write_text("still here")

    def answers() -> bool:
        try:
            return job_of(bench, job).tail() == "still here"
        except ServerRefused:
            return False

    wait_until(answers, timeout=60, on_timeout=bench.log)


def test_a_link_to_elsewhere_is_not_read(bench: Bench) -> None:
    bench.start()
    [job] = bench.jobs(bench.app())
    wait_until(lambda: agent_sessions(bench), on_timeout=bench.log)
    bench.workdir(job).mkdir(parents=True, exist_ok=True)
    (bench.workdir(job) / "job.out").symlink_to(bench.site.path / "settings.yml")
    with pytest.raises(ServerRefused, match="out of the site's data folder"):
        job_of(bench, job).tail()


def test_without_an_agent_the_remedy_is_named(bench: Bench) -> None:
    [job] = bench.jobs(bench.app())
    with pytest.raises(ServerRefused, match="balsam site start"):
        job_of(bench, job).tail()


def test_a_hook_that_never_ends_is_killed_with_its_job(bench: Bench) -> None:
    def preprocess(self: object) -> None:
        import os
        import pathlib
        import time

        pathlib.Path("pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.1)

    bench.start()
    [job] = bench.jobs(bench.app(preprocess=preprocess))
    note = bench.workdir(job) / "pid"
    wait_until(lambda: note.exists() and note.read_text(), on_timeout=bench.log)
    began = time.monotonic()
    answer = job_of(bench, job).kill()
    assert answer.outcome == "killed", bench.log()
    assert time.monotonic() - began < 5.0
    assert [event["to_state"] for event in bench.events(job)] == ["STAGED_IN", "FAILED"]
    assert bench.events(job)[-1]["data"]["message"].startswith("killed by ")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
