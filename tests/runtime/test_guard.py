"""A guard kills what its owner leaves behind, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.runtime import guard
from balsam.runtime.guard_link import GuardLink
from tests.waiting import wait_until

# Registers a child, starts one that hides, says their pids, then does as it is told.
OWNER = """
import os, subprocess, sys, time
from balsam.runtime.guard_link import GuardLink
link = GuardLink(lease_sec=float(sys.argv[1]))
env = {**os.environ, **link.environment}
quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
child = subprocess.Popen(["sleep", "600"], **quiet)
link.add(child.pid)
# In a session of its own, like the child, and nobody told the guard.
hidden = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], env=env, **quiet)
stranger = subprocess.Popen(["sleep", "600"], **quiet)
print(child.pid, hidden.pid, stranger.pid, flush=True)
while True:
    word = sys.stdin.readline().strip()
    if word == "remove":
        link.remove(child.pid)
        print("removed", flush=True)
    elif word == "end":
        link.end()
        break
    elif word == "renew":
        fate = link.renew()
        print(fate.acted, *fate.killed, flush=True)
    elif word == "guard":
        print(link.pid, flush=True)
    else:
        print(link.beat(), flush=True)
"""


class Owner:
    def __init__(self, lease_sec: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(lease_sec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.child, self.hidden, self.stranger = map(int, self.process.stdout.readline().split())
        words = Path(f"/proc/{self.hidden}/environ").read_text().split("\0")
        self._environment = dict(word.split("=", 1) for word in words if "=" in word)

    def environment(self) -> dict[str, str]:
        """What the owner gave to the child that hides."""
        return dict(self._environment)

    def say(self, word: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        for pid in (self.child, self.hidden, self.stranger):
            if is_alive(pid):
                os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner(lease_sec=600)
    yield owner
    owner.end()


def test_killed_owner_takes_its_groups_and_marked_processes_along(owner: Owner) -> None:
    assert is_alive(owner.child) and is_alive(owner.hidden)
    owner.process.kill()
    wait_until(lambda: not is_alive(owner.child) and not is_alive(owner.hidden), timeout=3)
    assert is_alive(owner.stranger)


def test_group_that_was_taken_back_is_left_alone(owner: Owner) -> None:
    assert owner.say("remove") == "removed"
    owner.process.kill()
    wait_until(lambda: not is_alive(owner.hidden), timeout=3)
    assert is_alive(owner.child)


def test_owner_that_ends_well_leaves_the_choice_to_itself(owner: Owner) -> None:
    owner.say("end")
    assert owner.process.wait(5) == 0
    assert is_alive(owner.stranger) and is_alive(owner.child)


def test_silent_owner_counts_as_frozen_and_learns_of_it() -> None:
    owner = Owner(lease_sec=6.0)
    try:
        assert owner.say("beat") == "True"
        wait_until(lambda: not is_alive(owner.child), timeout=5)
        assert owner.say("beat") == "False"
    finally:
        owner.end()


def test_a_renewed_guard_knows_what_carries_the_mark_of_the_first(owner: Owner) -> None:
    owner.say("renew")
    wait_until(lambda: not is_alive(owner.hidden))  # what the first was told of ends with it
    late = subprocess.Popen(["sleep", "600"], env=owner.environment(), start_new_session=True)
    owner.process.kill()
    assert late.wait(5) == -signal.SIGKILL


def test_reused_pid_is_not_killed() -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    guard.kill({child.pid: "1"})  # the start time of another process
    assert child.poll() is None
    guard.kill({child.pid: guard.start_time(child.pid)})
    assert child.wait(5) == -signal.SIGTERM


def test_group_that_ignores_sigterm_is_killed_all_the_same() -> None:
    line = ["sh", "-c", "trap '' TERM; echo ready; sleep 600 & wait"]
    with subprocess.Popen(line, start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        guard.kill({child.pid: guard.start_time(child.pid)})
        assert child.wait(5) == -signal.SIGKILL


def test_guard_outlives_the_signals_that_end_its_owner_from_its_first_moment() -> None:
    link = GuardLink()
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(link.pid, number)
        wait_until(lambda: set(guard.OUTLIVED) <= ignored_signals(link.pid))
        assert link.beat()
    finally:
        link.end()


def test_starting_a_guard_leaves_the_owner_open_to_signals() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    GuardLink().end()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def ignored_signals(pid: int) -> set[int]:
    """Those that a live process ignores."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_group_that_comes_and_goes_in_one_reading_is_never_looked_at() -> None:
    groups: guard.Groups = {7: "1"}
    guard.note([b"+5", b"-5", b"-7", b"."], groups)
    assert groups == {}


def test_a_guard_that_can_not_be_started_for_the_moment_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kind: a host that lacks processes or files at the moment in which something is to be replaced."""
    link = GuardLink(lease_sec=60)
    os.kill(link.pid, signal.SIGKILL)
    with monkeypatch.context() as there:
        there.setattr(sys, "executable", "/nowhere/python")
        for _ in range(2):
            assert not link.renew().acted
            assert link.is_missing and not link.beat()
    assert not link.renew().acted
    assert not link.is_missing and link.beat()
    link.end()
