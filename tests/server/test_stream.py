import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.server.lab import Lab
from tests.server.listener import Listener
from tests.services import PasswordServer, User

Listen = Callable[..., Listener]


@pytest.fixture
def listen(password_server: PasswordServer, user: User) -> Iterator[Listen]:
    opened: list[Listener] = []

    def start(who: User = user, **params: object) -> Listener:
        opened.append(Listener(password_server, who, **params))
        return opened[-1]

    yield start
    for listener in opened:
        listener.close()


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


def test_a_change_reaches_an_open_stream(lab: Lab, listen: Listen) -> None:
    listener = listen()
    [job] = lab.create()
    message = listener.get("events")
    assert [(row["job_id"], row["to_state"]) for row in message.data] == [
        (job, "STAGED_IN"),
        (job, "PREPROCESSED"),
    ]
    lab.batch_job()
    assert listener.get("batch-jobs").data == {"site_ids": [lab.site["id"]]}


def test_a_stream_resumes_behind_its_cursor(lab: Lab, listen: Listen) -> None:
    before = listen().hello.data["cursor"]
    jobs = [lab.create()[0] for _ in range(3)]
    resumed = listen(cursor=before, to_state="PREPROCESSED")
    assert resumed.hello.name == "hello"
    message = resumed.get("events")
    assert [row["job_id"] for row in message.data] == jobs
    last = listen(cursor=message.id, to_state="PREPROCESSED")
    [job] = lab.create()
    assert [row["job_id"] for row in last.get("events").data] == [job]


def test_a_foreign_cursor_answers_reset(lab: Lab, listen: Listen) -> None:
    ours = str(listen().hello.data["cursor"])
    for cursor in ("another-database:1", "nonsense", ours + "99999"):
        assert listen(cursor=cursor).hello.name == "reset"


def test_a_stranger_hears_nothing(password_server: PasswordServer, lab: Lab, listen: Listen) -> None:
    stranger = password_server.new_user()
    listener = listen(stranger)
    lab.create()
    assert listener.get("events", "beat").name == "beat"
    stranger.client.close()


def test_freed_jobs_are_told_to_those_who_wait_for_work(lab: Lab, listen: Listen) -> None:
    listener = listen()
    lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.client.delete(f"/sessions/{session}")
    assert listener.get("freed").data == {"site_ids": [lab.site["id"]]}


def test_a_stream_beats_also_under_traffic_that_is_not_for_it(lab: Lab, listen: Listen) -> None:
    listener = listen(to_state="JOB_FINISHED")
    began = time.monotonic()
    while time.monotonic() < began + 1.5:
        lab.create()
    assert listener.get("beat").name == "beat"


def test_a_cursor_outlives_the_events_before_it(lab: Lab, listen: Listen) -> None:
    [job] = lab.create()
    cursor = listen().hello.data["cursor"]
    lab.client.delete(f"/jobs/{job}")
    assert listen(cursor=cursor).hello.name == "hello"


def test_events_with_much_data_come_in_messages_of_bounded_size(lab: Lab, listen: Listen) -> None:
    before = listen().hello.data["cursor"]
    jobs = lab.create(40)
    lab.move(jobs, "FAILED", state_data={"message": "x" * 50_000})
    resumed = listen(cursor=before, to_state="FAILED")
    told: list[int] = []
    while len(told) < len(jobs):
        message = resumed.get("events")
        assert 0 < len(message.data) <= 10
        told += [row["job_id"] for row in message.data]
    assert told == jobs


def test_readers_that_do_not_read_keep_nobody_waiting(
    lab: Lab, listen: Listen, user: User, password_server: PasswordServer
) -> None:
    before = listen().hello.data["cursor"]
    lab.move(lab.create(60), "FAILED", state_data={"message": "x" * 50_000})
    head = f"GET /stream?cursor={before} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n"
    port = int(password_server.url.rpartition(":")[2])
    with contextlib.ExitStack() as opened:
        for _ in range(45):  # more than the server has threads
            stuck = opened.enter_context(socket.socket())
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.settimeout(30.0)
            stuck.connect(("127.0.0.1", port))
            stuck.sendall(head.encode())
            assert stuck.recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        [job] = lab.create()
        assert lab.job(job)["id"] == job
        assert time.monotonic() - began < 5.0


def test_a_slow_reader_of_many_events_is_ended_before_it_has_read_them_all(
    lab: Lab, listen: Listen, user: User, password_server: PasswordServer
) -> None:
    before = listen().hello.data["cursor"]
    lab.move(lab.create(240), "FAILED", state_data={"message": "x" * 50_000})
    head = f"GET /stream?cursor={before} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30.0)
        slow.connect(("127.0.0.1", int(password_server.url.rpartition(":")[2])))
        slow.sendall(head.encode())
        assert b"event: hello" in slow.recv(4096) + slow.recv(4096)
        password_server.server.watchers.end_all()
        got = 0
        while not (part := slow.recv(65536)).endswith(b"0\r\n\r\n") and part:
            got += len(part)
    assert got < 6_000_000
