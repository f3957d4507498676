"""The supervisor with workers that serve nothing: who is started, who stays, who ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

WORKER = """
import argparse, os, pathlib, sys, threading
parser = argparse.ArgumentParser()
for name in ("--socket", "--alive", "--ready"):
    parser.add_argument(name, type=int)
args = parser.parse_args(sys.argv[2:])
if (pathlib.Path(sys.argv[1]) / "broken").exists():
    sys.exit(1)
os.write(args.ready, b"1")
(pathlib.Path(sys.argv[1]) / f"serves-{os.getpid()}").touch()
os.read(args.alive, 1)
"""
SUPERVISOR = """
import socket, sys
from pathlib import Path
from balsam.server.supervisor import Supervisor
folder = Path(sys.argv[1])
with socket.socket() as shared:
    command = [sys.executable, str(folder / "worker.py"), str(folder)]
    ended = lambda pid: (folder / f"ended-{pid}").touch()
    Supervisor(command, shared, workers=2, one_at_a_time=False, ended=ended).run()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[psutil.Process]:
    (tmp_path / "worker.py").write_text(WORKER)
    child = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path)])
    process = psutil.Process(child.pid)
    wait_until(lambda: len(list(tmp_path.glob("serves-*"))) == 2)
    yield process
    child.terminate()
    child.wait(60)


def workers(supervisor: psutil.Process) -> set[int]:
    return {one.pid for one in supervisor.children() if one.status() != psutil.STATUS_ZOMBIE}


def test_each_worker_that_ends_gets_a_successor(supervisor: psutil.Process, tmp_path: Path) -> None:
    before = workers(supervisor)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    ended = {f"ended-{pid}" for pid in before}
    wait_until(lambda: {path.name for path in tmp_path.glob("ended-*")} == ended)
    wait_until(lambda: len(workers(supervisor)) == 2 and not workers(supervisor) & before)


def test_a_successor_that_does_not_come_to_serve_leaves_its_elder(
    supervisor: psutil.Process, tmp_path: Path
) -> None:
    before = workers(supervisor)
    (tmp_path / "broken").touch()
    supervisor.send_signal(signal.SIGHUP)
    wait_until(lambda: len(list(tmp_path.glob("ended-*"))) == 1)
    assert workers(supervisor) == before
    (tmp_path / "broken").unlink()
    supervisor.send_signal(signal.SIGHUP)
    wait_until(lambda: len(workers(supervisor)) == 2 and not workers(supervisor) & before)


def test_its_end_is_that_of_its_workers(supervisor: psutil.Process) -> None:
    children = supervisor.children()
    supervisor.kill()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert len(gone) == 2 and not alive


def test_it_sleeps_while_nothing_happens(supervisor: psutil.Process) -> None:
    before = supervisor.num_ctx_switches().voluntary
    assert not psutil.wait_procs(supervisor.children(), timeout=2)[0]
    assert supervisor.num_ctx_switches().voluntary - before <= 1
