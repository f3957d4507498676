"""`EventLog.objects.stream()`: every event once, over cuts, kills and restarts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from balsam.api import App, EventLog, Job, JobState, Site
from balsam.client.errors import AuthError, ClientError
from balsam.client.transport import Client
from balsam.core.clock import UtcDatetime
from balsam.sdk.event_stream import EventsLost, EventStream
from balsam.sdk.query import IDS_PER_REQUEST
from tests.cutting_proxy import CuttingProxy
from tests.services import DeployedServer, EmbeddedServer, PasswordServer, PostgresServer, User
from tests.waiting import wait_until

MakeJobs = Callable[..., list[Job]]


def ids(events: Iterable[EventLog]) -> list[int]:
    return [event.id for event in events]


class Reader:
    """Takes what a stream brings, in a thread."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.taken: list[EventLog] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self.stream:
                self.taken.append(event)
        except Exception as exc:  # shown by the test
            self.error = exc

    def wait_for(self, count: int) -> list[EventLog]:
        wait_until(
            lambda: len(self.taken) >= count or self.error is not None,
            timeout=60,
            on_timeout=lambda: f"{len(self.taken)} of {count} events came",
        )
        assert self.error is None
        return self.taken

    def end(self) -> None:
        self.stream.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def read(me: User) -> Iterator[Callable[[EventStream], Reader]]:
    readers: list[Reader] = []

    def start(stream: EventStream) -> Reader:
        readers.append(Reader(stream))
        return readers[-1]

    yield start
    for reader in readers:
        reader.end()


def begun(reader: Reader) -> Reader:
    wait_until(lambda: reader.stream.cursor is not None)
    return reader


def test_events_come_as_they_happen_and_are_those_of_the_log(
    make_jobs: MakeJobs, read: Callable[[EventStream], Reader]
) -> None:
    make_jobs(1)
    reader = begun(read(EventLog.objects.stream()))
    jobs = make_jobs(3)
    taken = reader.wait_for(6)
    listed = EventLog.objects.filter(job_id=[job.id for job in jobs])
    assert {event.id: event.display_dict() for event in taken} == {
        event.id: event.display_dict() for event in listed
    }
    assert isinstance(taken[0].timestamp, UtcDatetime)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"to_state": "PREPROCESSED"}, {"PREPROCESSED"}),
        ({"from_state": ["CREATED", "FAILED"]}, {"STAGED_IN"}),
        ({"tags": {"kind": "wanted"}}, {"STAGED_IN", "PREPROCESSED"}),
    ],
)
def test_filters_are_those_of_the_log(
    make_jobs: MakeJobs,
    read: Callable[[EventStream], Reader],
    filters: dict[str, object],
    expected: set[str],
) -> None:
    reader = begun(read(EventLog.objects.stream(**filters)))  # type: ignore[arg-type]
    make_jobs(2, tags={"kind": "other"})
    wanted = make_jobs(2, tags={"kind": "wanted"})
    count = EventLog.objects.filter(**filters).count()  # type: ignore[arg-type]
    taken = reader.wait_for(count)
    assert sorted(ids(taken)) == sorted(ids(EventLog.objects.filter(**filters)))  # type: ignore[arg-type]
    assert {event.to_state for event in taken} == expected
    assert {job.id for job in wanted} <= {event.job_id for event in taken}


def test_a_stream_goes_on_behind_any_event_that_was_taken(make_jobs: MakeJobs, me: User) -> None:
    first = EventLog.objects.stream(last=1)
    make_jobs(1)
    assert len(ids(islice(first, 1))) == 1  # what there was is told, and the stream stands behind it
    make_jobs(5)
    all_ids = ids(EventLog.objects.all().order_by("timestamp"))
    taken = ids(islice(first, 3))
    cursor = first.cursor
    first.close()
    assert cursor is not None
    # In the middle of what the server has sent at once.
    rest = ids(islice(EventLog.objects.stream(cursor=cursor), len(all_ids) - 2 - 3))
    assert len(set(taken + rest)) == len(taken + rest) == len(all_ids) - 2
    assert set(taken + rest) <= set(all_ids)


def test_what_was_before_and_what_follows_meet(
    make_jobs: MakeJobs, read: Callable[[EventStream], Reader]
) -> None:
    make_jobs(4)
    since = EventLog.objects.all().order_by("timestamp")[3].timestamp
    expected = EventLog.objects.filter(timestamp_after=since).count()
    reader = read(EventLog.objects.stream(since=since))
    for _ in range(30):
        make_jobs(1)
    reader.wait_for(expected + 60)
    total = EventLog.objects.filter(timestamp_after=since).count()
    taken = ids(reader.wait_for(total))
    assert len(taken) == len(set(taken)) == total
    last = ids(islice(EventLog.objects.stream(last=3), 3))
    assert last == sorted(ids(EventLog.objects.all()[:3]))


def test_a_cursor_of_another_database_is_an_error(me: User) -> None:
    with pytest.raises(EventsLost, match="backup"):
        next(EventLog.objects.stream(cursor="another:1.2"))


def test_wrong_questions_are_refused(me: User) -> None:
    since = UtcDatetime.parse("2030-01-01")
    with pytest.raises(ValueError, match="slice"):
        EventLog.objects.all()[:3].stream()
    with pytest.raises(ValueError, match="one of"):
        EventLog.objects.stream(since=since, last=3)
    with pytest.raises(ValueError, match="takes 500 values of job_id at most, and not 501"):
        EventLog.objects.stream(job_id=range(1, IDS_PER_REQUEST + 2))
    assert list(EventLog.objects.stream(job_id=[])) == []
    with Client(me.client.api_root, "bad token") as stranger, pytest.raises(AuthError):
        next(EventLog.objects.using(stranger).stream())


def test_closing_ends_the_iteration(make_jobs: MakeJobs, read: Callable[[EventStream], Reader]) -> None:
    reader = begun(read(EventLog.objects.stream(since=UtcDatetime.now() - timedelta(days=1))))
    make_jobs(1)
    reader.wait_for(2)
    reader.end()
    with EventLog.objects.stream(last=1) as stream:
        assert next(stream)
    assert list(stream) == []


def test_strangers_hear_nothing(
    make_jobs: MakeJobs, new_user: Callable[[], User], read: Callable[[EventStream], Reader]
) -> None:
    make_jobs(1)
    stranger = new_user()
    since = UtcDatetime.now() - timedelta(days=1)
    reader = begun(read(EventLog.objects.using(stranger.client).stream(since=since)))
    make_jobs(2)
    own = Site.objects.using(stranger.client).create("theirs", "/x")
    job = Job.objects.using(stranger.client).create(
        "w", App.objects.using(stranger.client).create(own.id, "A", "", "", hooks=[]).id
    )
    assert {event.job_id for event in reader.wait_for(2)} == {job.id}


# ---- cuts, kills, restarts ----


class Load:
    """Threads that create jobs and fail them, whatever the server does meanwhile."""

    THREADS = 3

    def __init__(self, clients: Callable[[], Client]) -> None:
        self._clients = clients
        with clients() as client:
            site = Site.objects.using(client).create("lab", "/lab")
            self._app_id = App.objects.using(client).create(site.id, "A", "", "", hooks=[]).id
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(self.THREADS)]
        self.created = 0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with self._clients() as client:
            while not self._stop.is_set():
                try:
                    job = Job.objects.using(client).create("w", self._app_id)
                    self.created += 1
                    job.state = JobState.failed
                    job.save()
                except ClientError:  # the server is away for longer than the client is patient
                    continue


def assert_complete(reader: Reader, client: Client) -> None:
    """Each event once, those of a job in their order."""
    log = EventLog.objects.using(client).all()
    taken = reader.wait_for(log.count())
    assert len(taken) == len({event.id for event in taken})
    assert {event.id for event in taken} == {event.id for event in log}
    of_job: dict[int, int] = {}
    for event in taken:
        assert event.id > of_job.get(event.job_id, 0)
        of_job[event.job_id] = event.id


def test_nothing_is_lost_or_told_twice_while_an_embedded_server_is_killed(embedded: EmbeddedServer) -> None:
    with embedded.client(retry_sec=60.0) as client:
        stream = EventLog.objects.using(client).stream(last=1)
        reader = begun(Reader(stream))
        with Load(lambda: embedded.client(retry_sec=20.0)) as load:
            for _ in range(3):
                before = len(reader.taken)
                wait_until(lambda before=before: len(reader.taken) > before + 50, timeout=60)  # type: ignore[misc]
                embedded.kill()
                embedded.start()
        assert load.created > 0
        assert_complete(reader, client)
        reader.end()


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_nothing_is_lost_or_told_twice_while_workers_are_killed(
    engine: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    with DeployedServer(tmp_path / "facility", postgres.new_database(), workers=2) as server:
        me = server.new_user()
        reader = begun(Reader(EventLog.objects.using(me.client).stream(last=1)))
        with Load(lambda: Client(server.url, me.token, retry_sec=20.0)):
            for _ in range(3):
                before = len(reader.taken)
                wait_until(lambda before=before: len(reader.taken) > before + 50, timeout=60)  # type: ignore[misc]
                victims = server.workers()
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                wait_until(lambda victims=victims: not set(victims) & set(server.workers()))  # type: ignore[misc]
        with Client(server.url, me.token, retry_sec=20.0) as client:
            assert_complete(reader, client)
        reader.end()


def test_nothing_is_lost_or_told_twice_over_a_way_that_breaks_off(
    password_server: PasswordServer, user: User
) -> None:
    port = int(password_server.url.rpartition(":")[2])
    with CuttingProxy(port) as proxy, Client(proxy.url, user.token, retry_sec=20.0) as client:
        reader = begun(Reader(EventLog.objects.using(client).stream(last=1)))
        with Load(lambda: Client(password_server.url, user.token, retry_sec=20.0)):
            wait_until(lambda: proxy.num_cuts >= 20, timeout=60)
        assert_complete(reader, user.client)
        reader.end()
