"""The server never opens a pickle, whatever is sent and asked; its users' code runs at their sites."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.services import free_port
from tests.waiting import wait_until

# Writes a line for each name that any pickle asks for, and for each library of pickles that is imported.
WATCH = """
import os, runpy, sys
seen = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def watch(event, args):
    if event == "pickle.find_class" or event == "import" and args[0] in ("cloudpickle", "dill"):
        os.write(seen, f"{event} {args[:2]}\\n".encode())
sys.addaudithook(watch)
sys.argv = sys.argv[2:]
"""
SERVE = WATCH + 'runpy.run_module("balsam.server.main", run_name="__main__")'
OPEN = WATCH + "import pickle, base64; pickle.loads(base64.b64decode(sys.argv[0]))"


class Telltale:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def payload(tmp_path: Path) -> str:
    return base64.b64encode(pickle.dumps(Telltale(tmp_path / "opened"))).decode()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Client]:
    """A client of a server whose every unpickling is noted in `seen`."""
    port, data = free_port(), tmp_path / "data"
    data.mkdir(mode=0o700)
    command = [sys.executable, "-c", SERVE, str(tmp_path / "seen"), "server"]
    command += ["--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: _answers(port), timeout=60)
        token = yaml.safe_load((data / "client.yml").read_text())["token"]
        with Client(f"http://127.0.0.1:{port}", token) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    try:
        return asking.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_the_watch_sees_what_is_unpickled(tmp_path: Path, payload: str) -> None:
    subprocess.run([sys.executable, "-c", OPEN, str(tmp_path / "seen"), payload], check=True, timeout=30)
    assert (tmp_path / "opened").is_dir()
    assert "mkdir" in (tmp_path / "seen").read_text()


def test_the_server_opens_no_payload(tmp_path: Path, watched: Client, payload: str) -> None:
    lab = Lab(watched, hooks=[], serialized_class=payload)
    changes = {"serialized_class": payload, "source_code": payload, "hooks": []}
    lab.client.put(f"/apps/{lab.app['id']}", changes)
    serializer = {"name": "dill", "version": payload, "python": "3.11"}
    jobs = lab.create(3, serialized_parameters=payload, serializer=serializer, data={"x": payload})
    session = lab.session()
    assert lab.acquire(session) == jobs
    assert lab.move(jobs, "RUNNING", session, state_data={"error": payload}) == (3, [])
    results = {"serialized_return_value": payload, "serialized_exception": payload}
    assert lab.move(jobs[:1], "RUN_DONE", session, **results) == (1, [])
    errors = {"error": payload, "returncode": 1}
    assert lab.move(jobs[1:], "RUN_ERROR", session, state_data=errors, **results) == (2, [])
    assert lab.job(jobs[0])["serialized_return_value"] == payload
    for path in (
        "/jobs/",
        "/jobs/why",
        "/jobs/why/counts",
        "/jobs/counts",
        "/overview",
        "/events/",
        "/apps/",
        "/analytics/summary",
        "/analytics/events/throughput",
    ):
        watched.get(path)
    assert (tmp_path / "seen").read_text() == ""
    assert not (tmp_path / "opened").exists()
