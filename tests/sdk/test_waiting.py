"""result(), wait() and as_completed(): told by the stream, with jobs that end while one waits."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from balsam.api import ApplicationDefinition, Job, JobState
from balsam.client.transport import Client
from balsam.schemas.jobs import NeverStartingOut
from balsam.schemas.payloads import RemoteTraceback
from balsam.sdk import never_starting
from tests.sdk.moves import fail, finish
from tests.services import EmbeddedServer, User
from tests.waiting import wait_until

Apps = type[ApplicationDefinition]
MakeJobs = Callable[..., list[Job]]
NEVER_POLL = 1000.0  # seconds: what is learnt in time was told by the stream


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_result_of_a_job_that_has_ended(make_jobs: MakeJobs) -> None:
    (job,) = make_jobs(1)
    finish(job, {"answer": 42})
    assert job.result(timeout=5) == {"answer": 42}
    assert job.result_nowait() == {"answer": 42}
    assert job.done()


def test_result_comes_as_soon_as_the_job_ends(make_jobs: MakeJobs, background: ThreadPoolExecutor) -> None:
    jobs = make_jobs(4)
    with pytest.raises(TimeoutError):  # the stream is up from here on
        jobs[0].result(timeout=0.05)
    feed = jobs[0].client().feed()
    waits = []
    for job in jobs[1:]:
        promise = background.submit(_result_and_when, job)
        wait_until(lambda: feed.num_waiters)
        finish(job, job.id)
        ended = time.monotonic()
        value, known = promise.result(timeout=5)
        assert value == job.id
        waits.append(known - ended)
    assert min(waits) < 0.05


def _result_and_when(job: Job) -> tuple[object, float]:
    return job.result(timeout=5), time.monotonic()


def test_the_end_of_a_new_job_is_known_however_late_one_begins_to_wait(make_jobs: MakeJobs) -> None:
    (first,) = make_jobs(1)
    with pytest.raises(TimeoutError):  # the stream is up from here on
        first.result(timeout=0.05)
    early, late, last = make_jobs(3)
    finish(early, "early")
    wait_until(lambda: not Job.objects.wait([early], timeout=0.1, poll_interval=NEVER_POLL).not_done)
    finish(late, "late")
    assert Job.objects.wait([late], timeout=5, poll_interval=NEVER_POLL).done == [late]
    finish(last, "last")
    assert Job.objects.wait([last], timeout=0).done == [last]
    assert [early.result_nowait(), late.result_nowait()] == ["early", "late"]


def test_result_raises_what_run_raised(make_jobs: MakeJobs) -> None:
    (job,) = make_jobs(1)
    fail(job, ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError, match="by zero") as caught:
        job.result(timeout=5)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "ZeroDivisionError" in str(caught.value.__cause__)


def test_result_never_ends_the_caller(make_jobs: MakeJobs) -> None:
    (job,) = make_jobs(1)
    fail(job, SystemExit(4))
    with pytest.raises(RuntimeError, match=f"^job {job.id} in .*: SystemExit: 4$") as caught:
        job.result(timeout=5)
    assert isinstance(caught.value.__cause__, RemoteTraceback)


def test_a_command_that_failed_says_how(hello: Apps) -> None:
    job = hello.submit("runs/7", name="x")
    fail(job, returncode=3, error="no such file: input.dat")
    with pytest.raises(
        Job.NoResult, match=rf"job {job.id} in runs/7 is FAILED: .*3; no such file: input.dat"
    ):
        job.result(timeout=5)


def test_no_result_yet_and_no_result_ever(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    with pytest.raises(Job.NoResult, match="PREPROCESSED"):
        job.result_nowait()
    with pytest.raises(TimeoutError, match=rf"{job.id} \(PREPROCESSED\)"):
        job.result(timeout=0.05)
    for state in (JobState.running, JobState.run_done):
        job.state = state
        job.save()
    with pytest.raises(Job.NoResult, match=r"job\.out"):
        job.result()


def test_wait_for_all(make_jobs: MakeJobs, background: ThreadPoolExecutor) -> None:
    jobs = make_jobs(3)
    promise = background.submit(Job.objects.using(jobs[0].client()).wait, jobs, 10, NEVER_POLL)
    for job in jobs:
        finish(job, None)
    done, not_done = promise.result(timeout=10)
    assert done == jobs and not_done == []
    assert {job.state for job in done} == {JobState.job_finished}


def test_wait_for_the_first(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(3)
    finish(jobs[1], 1)
    result = Job.objects.wait(jobs, timeout=5, return_when="FIRST_COMPLETED")
    assert result.done == [jobs[1]] and result.not_done == [jobs[0], jobs[2]]


def test_waiting_for_one_tells_of_all_that_have_ended(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(3)
    finish(jobs[0], 1)
    finish(jobs[1], 1)
    jobs[0].refresh_from_db()  # so that nothing has to be awaited
    result = Job.objects.wait(jobs, timeout=5, return_when="FIRST_COMPLETED")
    assert result.done == jobs[:2] and result.not_done == jobs[2:]


def test_wait_for_the_first_failure(make_jobs: MakeJobs, background: ThreadPoolExecutor) -> None:
    jobs = make_jobs(3)
    finish(jobs[0], 1)
    promise = background.submit(
        Job.objects.using(jobs[0].client()).wait, jobs, 10, NEVER_POLL, "FIRST_EXCEPTION"
    )
    fail(jobs[2], ValueError("no"))
    result = promise.result(timeout=10)
    assert result.done == [jobs[0], jobs[2]] and result.not_done == [jobs[1]]


def test_wait_ends_in_time_with_what_is_done(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(2)
    finish(jobs[0], 1)
    done, not_done = Job.objects.wait(jobs, timeout=0.1)
    assert (done, not_done) == ([jobs[0]], [jobs[1]])
    with pytest.raises(ValueError, match="FIRST_COMPLETED"):
        Job.objects.wait(jobs, return_when="SOME")


def test_as_completed_yields_in_the_order_of_ends(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(3)
    order = []
    finish(jobs[2], 2)
    completed = Job.objects.as_completed(Job.objects.all(), timeout=10, poll_interval=NEVER_POLL)
    for following, job in zip((jobs[0], jobs[1], None), completed, strict=True):
        order.append(job.result_nowait())
        if following is not None:
            finish(following, int(following.get_parameters()["x"]))
    assert order == [2, 0, 1]


def test_as_completed_runs_out_of_time(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(2)
    finish(jobs[0], 0)
    seen = []
    with pytest.raises(TimeoutError, match="1 job has not ended"):
        for job in Job.objects.as_completed(jobs, timeout=0.1):
            seen.append(job)
    assert seen == [jobs[0]]


def test_jobs_that_are_gone_or_never_saved_end_the_wait(make_jobs: MakeJobs, add: Apps) -> None:
    jobs = make_jobs(2)
    Job.objects.filter(id=jobs[0].id).delete()
    with pytest.raises(Job.DoesNotExist, match=str(jobs[0].id)):
        Job.objects.wait(jobs, timeout=5)
    with pytest.raises(Job.DoesNotExist, match="never saved"):
        add.submit("w", x=1, save=False).result()


def test_waiters_of_one_client_share_one_stream(make_jobs: MakeJobs, background: ThreadPoolExecutor) -> None:
    jobs = make_jobs(4)
    before = set(threading.enumerate())  # feeds of earlier tests may be on their way out
    promises = [background.submit(job.result, 10) for job in jobs]
    feed = jobs[0].client().feed()
    wait_until(lambda: feed.num_waiters == 4)
    started = set(threading.enumerate()) - before
    assert [thread.name for thread in started].count("balsam-feed") == 1
    for job in jobs:
        finish(job, job.id)
    assert [promise.result(timeout=10) for promise in promises] == [job.id for job in jobs]


class NoStream(httpx.BaseTransport):
    """A server without a stream, on which a job ends when it is looked at for the third time."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row, self.looks = row, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/stream":
            return httpx.Response(404, json={"error": "Not found"})
        self.looks += 1
        state = "JOB_FINISHED" if self.looks >= 3 else "RUNNING"
        return httpx.Response(200, json={"results": [{**self.row, "state": state}]})


def test_without_a_stream_polling_finds_out(make_jobs: MakeJobs, caplog: pytest.LogCaptureFixture) -> None:
    row = make_jobs(1)[0]._row
    with Client("http://server", transport=NoStream(row)) as client:
        job = Job.from_row(row, client)
        start = time.monotonic()
        assert Job.objects.using(client).wait([job], timeout=10, poll_interval=0.02).done == [job]
    assert time.monotonic() - start < 2
    assert "is given up" in caplog.text


def test_jobs_of_two_users_are_awaited_together(new_user: Callable[[], User]) -> None:
    jobs = [_job_of(new_user().client) for _ in range(2)]
    for job in jobs:
        finish(job, 1)
    assert Job.objects.wait(jobs, timeout=10).done == jobs


def test_waiting_survives_a_server_that_restarts(
    embedded: EmbeddedServer, background: ThreadPoolExecutor
) -> None:
    client = embedded.client()
    job = _job_of(client)
    promise = background.submit(job.result, 60)
    wait_until(lambda: client.feed().connected.is_set())
    embedded.kill()
    wait_until(lambda: not client.feed().connected.is_set())
    embedded.start()
    finish(job, "survived")
    assert promise.result(timeout=30) == "survived"
    client.close()


def _job_of(client: Client) -> Job:
    from balsam.api import App, Site

    site = Site.objects.using(client).create("lab", "/lab")
    app = App.objects.using(client).create(site.id, "A", "", "", hooks=[])
    return Job.objects.using(client).create("w", app.id)


# ---- jobs that wait for others which failed: nobody waits for ever ----


def test_who_waits_for_a_failed_job_or_its_child_is_told_the_root_cause(hello: Apps) -> None:
    """Grandchildren, too; in `result`, `wait`, `as_completed` and `progress` without a timeout."""
    root = hello.submit("root", name="x")
    child = hello.submit("child", name="x", parent_ids=[root.id])
    grandchild = hello.submit("grandchild", name="x", parent_ids=[child.id])
    healthy = hello.submit("healthy", name="x")
    fail(root, returncode=3, error="no such file: input.dat\n--------")
    finish(healthy, None)
    asked: list[Callable[[], Any]] = [
        lambda: grandchild.result(),
        lambda: child.result(timeout=60),
        lambda: Job.objects.wait([healthy, child, grandchild]),
        lambda: list(Job.objects.as_completed([child, grandchild])),
        lambda: Job.objects.progress([grandchild]),
    ]
    for ask in asked:
        begun = time.monotonic()
        with pytest.raises(
            Job.NeverStarts, match=rf"job {root.id}, .* FAILED: exit code 3: no such"
        ) as caught:
            ask()
        assert time.monotonic() - begun < 10
    assert healthy.state is JobState.job_finished
    assert [one.chain for one in caught.value.blocked] == [[child.id, root.id]]
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), Job.NeverStarts)


def test_who_waits_already_is_told_when_a_job_before_fails(
    hello: Apps, background: ThreadPoolExecutor
) -> None:
    root = hello.submit("root", name="x")
    child = hello.submit("child", name="x", parent_ids=[root.id])
    grandchild = hello.submit("grandchild", name="x", parent_ids=[child.id])
    feed = root.client().feed()
    promise = background.submit(Job.objects.using(root.client()).wait, [grandchild], None, NEVER_POLL)
    wait_until(lambda: feed.connected.is_set() and feed.num_waiters)
    fail(root, returncode=1)
    with pytest.raises(Job.NeverStarts, match=f"job {grandchild.id} can never start, since job {root.id}"):
        promise.result(timeout=10)


def test_a_wait_with_a_timeout_goes_on_until_then_and_says_so(
    hello: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    root = hello.submit("root", name="x")
    child = hello.submit("child", name="x", parent_ids=[root.id])
    fail(root, returncode=1)
    done, not_done = Job.objects.wait([child], timeout=0.3)
    assert (done, not_done) == ([], [child])
    assert f"job {child.id} can never start" in caplog.text


def test_a_deleted_parent_and_parents_that_must_only_end(hello: Apps) -> None:
    gone, bad = hello.submit("gone", name="x"), hello.submit("bad", name="x")
    orphan = hello.submit("orphan", name="x", parent_ids=[gone.id], parents_must="end")
    lenient = hello.submit("lenient", name="x", parent_ids=[bad.id], parents_must="end")
    heir = hello.submit("heir", name="x", parent_ids=[lenient.id])
    gone.delete()
    fail(bad, returncode=1)
    with pytest.raises(Job.NeverStarts, match="was deleted"):
        orphan.result()
    with pytest.raises(TimeoutError):
        heir.result(timeout=0.1)


def test_many_jobs_that_never_start_are_counted_by_root_and_what_is_left_out_is_said() -> None:
    def blocked(job: int, root: int) -> NeverStartingOut:
        return NeverStartingOut(job_id=job, chain=[root], root_state=JobState.failed, reason="boom")

    text = never_starting.sentence(
        [blocked(number, 1) for number in range(10, 20)] + [blocked(30 + n, 2 + n) for n in range(6)]
    )
    assert text.startswith(
        "jobs 10, 11, 12, 13, 14 and 5 more can never start, since job 1, for which they wait"
    )
    assert text.endswith("and 2 more such roots: `balsam job why` counts jobs by reason")
