"""Killing and following through the SDK, with the launcher's answers given by the test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from balsam.api import BatchJob, Job, JobState, Session, Site
from balsam.client.transport import Client
from balsam.sdk.model import DoesNotExist
from balsam.sdk.remote import Followed
from tests.services import User

Row = Mapping[str, Any]
Reply = Callable[[Row], dict[str, Any]]


class Launcher:
    """A session that answers each message by what `reply` says."""

    def __init__(self, client: Client, site_id: int, reply: Reply, batch_job_id: int | None = None) -> None:
        self.session = Session.objects.create(site_id, batch_job_id, fenced=True, num_nodes=1)
        self._client = client
        self._reply = reply
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def run(self, job: Job) -> None:
        [held] = [one for one in self.session.acquire_jobs(100) if one.id == job.id]
        held.state = JobState.running
        held.save()

    def report(self, job: Job, state: str, **data: Any) -> None:
        body = [{"id": job.id, "state": state, "state_data": data}]
        self._client.patch("/jobs/", body, params={"session_id": self.session.id})

    def _run(self) -> None:
        path = f"/sessions/{self.session.id}/messages"
        while not self._stop.wait(0.02):
            for message in self._client.get(path):
                self._client.put(f"{path}/{message['id']}", {"answer": self._reply(message)})

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def launch(me: User, lab: Site) -> Iterator[Callable[..., Launcher]]:
    made: list[Launcher] = []

    def start(reply: Reply, batch_job_id: int | None = None) -> Launcher:
        made.append(Launcher(me.client, lab.id, reply, batch_job_id))
        return made[-1]

    yield start
    for launcher in made:
        launcher.close()


def test_kill_of_a_waiting_job_loads_its_end(make_jobs: Callable[[int], list[Job]]) -> None:
    [job] = make_jobs(1)
    answer = job.kill()
    assert (answer.outcome, job.state) == ("killed", JobState.failed)
    with pytest.raises(Job.NoResult, match="killed by"):
        job.result(timeout=5)
    assert job.kill().outcome == "ended"


def test_kill_waits_for_the_launcher(
    make_jobs: Callable[[int], list[Job]], launch: Callable[..., Launcher]
) -> None:
    [job] = make_jobs(1)

    def reply(message: Row) -> dict[str, Any]:
        launcher.report(job, "RUN_ERROR", killed=True, returncode=-15)
        return {"jobs": {}}

    launcher = launch(reply)
    launcher.run(job)
    answer = job.kill(timeout=20)
    assert (answer.outcome, job.state) == ("killed", JobState.failed)


def test_kill_of_what_does_not_answer_says_so(
    make_jobs: Callable[[int], list[Job]], launch: Callable[..., Launcher]
) -> None:
    [job] = make_jobs(1)
    launcher = launch(lambda message: {})
    launcher.run(job)
    answer = job.kill(timeout=0.1)
    assert (answer.outcome, job.state) == ("told", JobState.running)
    assert "last heartbeat" in answer.sentence
    assert job.why().code == "killed"


def test_kill_of_many(make_jobs: Callable[[int], list[Job]], launch: Callable[..., Launcher]) -> None:
    jobs = make_jobs(3)
    launch(lambda message: {}).run(jobs[0])  # and holds the others
    later = make_jobs(2)
    later[0].kill()
    killed = Job.objects.filter(workdir__contains="add/").kill(timeout=0.1)
    assert (killed.killed, killed.told, killed.noted, killed.ended) == (1, 3, 0, 1)
    assert killed.pending == [job.id for job in jobs]
    assert Job.objects.filter(id=[]).kill().killed == 0


def test_a_slice_is_killed_and_nothing_else(make_jobs: Callable[[int], list[Job]]) -> None:
    jobs = make_jobs(4)
    assert Job.objects.filter(workdir__contains="add/").order_by("id")[:2].kill().killed == 2
    states = [job.state for job in Job.objects.bulk_refresh(jobs)]
    assert states == [JobState.failed] * 2 + [JobState.preprocessed] * 2


def test_following_reads_on_until_the_run_ends(
    make_jobs: Callable[[int], list[Job]], launch: Callable[..., Launcher]
) -> None:
    [job] = make_jobs(1)
    whole = b"first\nsecond\nlast"
    ended: list[int] = []
    shown = itertools.chain([6, 6, 13], itertools.repeat(len(whole)))

    def reply(message: Row) -> dict[str, Any]:
        size = next(shown)
        if size == len(whole) and not ended:
            launcher.report(job, "RUN_DONE")
            ended.append(job.id)
        start = message["body"]["after"] or 0
        return {"text": whole[start:size].decode(), "offset": size, "size": size, "path": "/x/job.out"}

    launcher = launch(reply)
    launcher.run(job)
    assert list(job.tail(lines=5, follow=True)) == ["first\n", "second\n", "last"]


def test_tail_gives_text(make_jobs: Callable[[int], list[Job]], launch: Callable[..., Launcher]) -> None:
    [job] = make_jobs(1)
    launcher = launch(lambda message: {"text": f"{message['body']['lines']} lines", "offset": 1, "size": 1})
    launcher.run(job)
    assert job.tail() == "10 lines"
    assert job.tail(3) == "3 lines"


def test_unsaved_jobs_have_no_output_and_no_end() -> None:
    job = Job("w", 1)
    for call in (job.kill, job.tail):
        with pytest.raises(DoesNotExist, match="never saved"):
            call()


@pytest.mark.parametrize(
    ("number", "state", "num_runs", "over"),
    [
        (1, "RUNNING", 1, False),
        (1, "RUN_DONE", 1, True),
        (1, "RESTART_READY", 1, True),
        (1, "RUNNING", 2, True),
        (2, "RESTART_READY", 1, False),
        (1, "AWAITING_PARENTS", 0, False),
        (1, "FAILED", 0, True),
        (1, "JOB_FINISHED", 1, True),
    ],
)
def test_when_the_followed_run_is_over(number: int, state: str, num_runs: int, over: bool) -> None:
    assert Followed(number).is_over(state, num_runs) is over


def test_drain_counts_the_launchers(lab: Site, launch: Callable[..., Launcher]) -> None:
    batch_job = BatchJob.objects.create(1, 10, "serial", lab.id, "p", "q")
    launch(lambda message: {}, batch_job.id)
    told = batch_job.drain()
    assert (told.launchers, told.silent) == (1, [])
