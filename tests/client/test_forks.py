"""Nothing that a process holds is shared after a fork: connections, streams, locks, renewals of the login."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balsam.api import EventLog, Job
from balsam.client import credentials
from balsam.client.login import Login, save_login
from balsam.client.transport import Client
from tests.client.test_stream import make_job
from tests.services import User

IDS = range(1, 41)


def in_child(work: Callable[[], Any], timeout: float = 30.0) -> Any:
    """What `work` comes to in a child made by os.fork(); fails where it does not end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            threading.Timer(timeout, os._exit, (9,)).start()
            os.write(writer, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as exc:
            os.write(writer, json.dumps(f"{type(exc).__name__}: {exc}").encode())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told, "the child hung or died"
    return json.loads(told)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_each_child_of_a_pool_gets_the_answers_to_its_own_questions(
    method: str, user: User, tmp_path: Path
) -> None:
    """Also where other threads of the parent ask, and for children of children."""
    save_login(Login(user.client.api_root, user.token), tmp_path / "client.yml")
    first = make_job(user.client)
    ids = [first.id] + [
        job.id
        for job in Job.objects.using(user.client).bulk_create(
            [Job(f"n/{number}", first.app_id) for number in IDS]
        )
    ]
    (tmp_path / "go.py").write_text(
        textwrap.dedent("""
        import json, sys, threading
        from multiprocessing import get_context
        from balsam.api import EventLog, Job
        method, ids = sys.argv[1], json.loads(sys.argv[2])

        def read(number):
            return Job.objects.get(id=number).id

        def made(number):
            job = Job(f"made/{number}", Job.objects.get(id=number).app_id)
            job.save()
            return job.workdir.name if hasattr(job.workdir, "name") else str(job.workdir)

        def grandchildren(numbers):
            with get_context(method).Pool(2) as pool:
                return pool.map(read, numbers, chunksize=1)

        if __name__ == "__main__":
            Job.objects.count()
            stop = threading.Event()
            def ask():
                while not stop.is_set():
                    assert Job.objects.get(id=ids[0]).id == ids[0]
            def wait():
                try:
                    list(Job.objects.as_completed([Job.objects.get(id=ids[1])], timeout=60))
                except TimeoutError:
                    pass
            threads = [threading.Thread(target=ask) for _ in range(2)]
            threads.append(threading.Thread(target=wait, daemon=True))
            for thread in threads:
                thread.start()
            stream = EventLog.objects.stream(last=1)
            next(stream)
            context = get_context(method)
            for _ in range(2 if method == "spawn" else 4):
                with context.Pool(4) as pool:
                    assert pool.map(read, ids, chunksize=1) == ids
            with context.Pool(2) as pool:
                assert pool.map(made, ids[:10]) == [str(number) for number in ids[:10]]
            child = context.Process(target=grandchildren, args=(ids[:8],))
            child.start()
            child.join()
            assert child.exitcode == 0
            stop.set()
            print("right")
    """)
    )
    environment = {**os.environ, "BALSAM_CLIENT_PATH": str(tmp_path / "client.yml")}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "go.py", method, json.dumps(ids)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "right\n", done.stderr[-2000:]
    assert "ResourceWarning" not in done.stderr


def test_a_child_that_is_forked_in_the_midst_of_a_stream_goes_on_by_itself(user: User) -> None:
    with EventLog.objects.using(user.client).stream(last=1) as stream:
        make_job(user.client, "a")
        before = next(stream)

        def child() -> list[int]:
            return [next(stream).id for _ in range(2)]

        job = make_job(user.client, "b")
        assert in_child(child) == (mine := [next(stream).id for _ in range(2)])
        assert before.id < mine[0] and job.id


def test_a_stream_that_a_thread_reads_is_begun_anew_by_the_child(user: User) -> None:
    make_job(user.client)
    stream = EventLog.objects.using(user.client).stream(last=1)
    taken: list[EventLog] = []
    first = threading.Event()

    def read() -> None:
        for event in stream:
            taken.append(event)
            first.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert first.wait(10)

    def child() -> int:
        make_job(user.client, "of the child")
        return next(stream).job_id

    assert in_child(child) > 0
    stream.close()
    user.client.close()


@pytest.mark.parametrize("holds", ["_connections._lock", "_feed_lock", "_credentials._one_thread"])
def test_a_lock_that_another_thread_held_is_free_in_the_child(user: User, tmp_path: Path, holds: str) -> None:
    path = tmp_path / "client.yml"
    login = Login(user.client.api_root, user.token)
    save_login(login, path)
    with login.client(path) as client:
        lock = client
        for name in holds.split("."):
            lock = getattr(lock, name)
        with lock:
            assert in_child(lambda: bool(client.feed()) and client.get("/health")["status"]) == "ok"
        assert client.get("/health")["status"] == "ok"


def test_the_lock_of_a_login_is_not_kept_by_a_child(tmp_path: Path) -> None:
    """A child that lives long would keep all others from renewing."""
    path = tmp_path / "client.yml"
    context = multiprocessing.get_context("fork")
    over = context.Event()
    with credentials._locked(path):
        child = context.Process(target=over.wait, args=(60,))
        child.start()
    with (tmp_path / ".client.yml.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    over.set()
    child.join()


def test_a_child_leaves_its_parents_connections_alone(user: User) -> None:
    client: Client = user.client
    job = make_job(client)
    opened = set(client._connections._sockets)
    assert opened

    def child() -> int:
        assert all(one.fileno() == -1 for one in opened)
        client.get("/health")
        client.close()
        return 1

    assert in_child(child) == 1
    assert Job.objects.using(client).get(id=job.id).id == job.id
    assert opened & set(client._connections._sockets)  # the very same
