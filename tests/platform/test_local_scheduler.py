"""The local scheduler with real processes."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from balsam.core.clock import now_us
from balsam.platform.schedulers import local_wrapper
from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Submission,
    Submitted,
    Submitting,
)
from balsam.platform.schedulers.local import CLAIM_SEC, LocalScheduler, lost_cause, parse_record
from tests.waiting import wait_until

Submit = Callable[..., str]
_numbers = itertools.count(1)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[LocalScheduler]:
    made = LocalScheduler(tmp_path / "local", grace_sec=0.3)
    yield made
    for allocation in made.active().values():
        made.delete(allocation, politely=True)
    wait_until(lambda: not made.active())


@pytest.fixture
def submit(scheduler: LocalScheduler, tmp_path: Path) -> Submit:
    def hand_over(text: str, label: str = "one", wall_time_min: int = 5) -> str:
        return taken(scheduler.submit(write(tmp_path, text, label, wall_time_min)))

    return hand_over


def taken(outcome: Submitting) -> str:
    """The id of a submission that was taken."""
    assert isinstance(outcome, Submitted), outcome
    return outcome.scheduler_id


def write(folder: Path, text: str, label: str = "one", wall_time_min: int = 5) -> Submission:
    # A file of its own for each: bash would read on in a script that is written anew while it runs.
    script = folder / f"{label}-{next(_numbers)}.sh"
    script.write_text(f"#!/bin/bash\n{text}\n")
    script.chmod(0o700)
    return Submission(label, script, folder / f"{label}.output", folder, wall_time_min)


def end_of(scheduler: LocalScheduler, scheduler_id: str, timeout: float = 10.0) -> Allocation:
    wait_until(lambda: scheduler_id not in scheduler.active(), timeout)
    return scheduler.status([scheduler_id])[scheduler_id]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def lives(pid: int) -> bool:
    return local_wrapper.identity(pid) is not None


def wrapper_pid(scheduler: LocalScheduler, tmp_path: Path, scheduler_id: str) -> int:
    start = tmp_path / "local" / f"{scheduler_id}.start.json"
    wait_until(start.exists)
    pid: int = json.loads(start.read_text())["pid"]
    return pid


def test_a_script_runs_to_its_end_with_times_and_exit_code(
    scheduler: LocalScheduler, submit: Submit, tmp_path: Path
) -> None:
    before = now_us()
    end = end_of(scheduler, submit("echo out; echo err >&2; pwd; exit 3"))
    assert (end.state, end.cause) == (AllocationState.ended, "exit 3")
    assert end.start_us is not None and end.end_us is not None
    assert before <= end.start_us <= end.end_us <= now_us()
    assert lines(tmp_path / "one.output") == ["out", "err", str(tmp_path)]


def test_ids_are_numbers_counted_per_site_and_survive_a_restart(submit: Submit, tmp_path: Path) -> None:
    assert [submit("true", label) for label in ("a", "b")] == ["1", "2"]
    again = LocalScheduler(tmp_path / "local")
    assert again.find("b") == "2"
    assert taken(again.submit(write(tmp_path, "true", "c"))) == "3"


def test_the_same_label_is_never_run_twice(scheduler: LocalScheduler, submit: Submit, tmp_path: Path) -> None:
    first = submit("echo once; sleep 0.2")
    assert submit("echo twice") == first
    assert taken(LocalScheduler(tmp_path / "local").submit(write(tmp_path, "echo thrice"))) == first
    end_of(scheduler, first)
    assert lines(tmp_path / "one.output") == ["once"]


def test_a_submission_that_was_only_noted_is_started_when_it_is_handed_over_again(tmp_path: Path) -> None:
    noted = write(tmp_path, "echo ran")
    died = LocalScheduler(tmp_path / "local")
    died._enter(noted)  # and then the agent was killed
    again = LocalScheduler(tmp_path / "local")
    assert again.status(["1"])["1"].state is AllocationState.queued
    assert taken(again.submit(noted)) == "1"
    assert end_of(again, "1").cause == "exit 0"
    assert lines(tmp_path / "one.output") == ["ran"]


def test_two_wrappers_of_one_record_run_the_script_once(scheduler: LocalScheduler, tmp_path: Path) -> None:
    noted = write(tmp_path, "echo ran; sleep 0.2")
    scheduler._enter(noted)
    scheduler._spawn("1", noted.output)
    scheduler._spawn("1", noted.output)
    end_of(scheduler, "1")
    assert lines(tmp_path / "one.output") == ["ran"]


def test_a_killed_script_says_by_which_signal(scheduler: LocalScheduler, submit: Submit) -> None:
    assert end_of(scheduler, submit("kill -9 $$")).cause == "killed by signal 9"


def test_a_script_that_can_not_be_started_is_an_end_with_a_reason(
    scheduler: LocalScheduler, submit: Submit, tmp_path: Path
) -> None:
    submission = Submission("x", tmp_path / "missing.sh", tmp_path / "x.output", tmp_path, 1)
    cause = end_of(scheduler, taken(scheduler.submit(submission))).cause or ""
    assert cause == f"could not start {tmp_path / 'missing.sh'}: No such file or directory"


def test_the_wall_time_ends_the_script_first_by_term_then_by_kill(
    scheduler: LocalScheduler, tmp_path: Path
) -> None:
    noted = write(tmp_path, "trap 'echo asked' TERM; echo up; while true; do sleep 0.05; done")
    record = tmp_path / "local" / f"{scheduler._enter(noted)}.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "wall_time_sec": 1.0}))
    end = end_of(scheduler, taken(scheduler.submit(noted)))
    assert end.cause == "walltime"
    assert {"up", "asked"} <= set(lines(tmp_path / "one.output"))
    assert end.start_us is not None and end.end_us is not None
    assert 1.3 <= (end.end_us - end.start_us) / 1e6 < 3.0


def test_delete_asks_with_term_and_says_so(scheduler: LocalScheduler, submit: Submit, tmp_path: Path) -> None:
    running = submit("trap 'echo bye; exit 0' TERM; echo up; sleep 60 & wait")
    wait_until(lambda: "up" in lines(tmp_path / "one.output"))
    scheduler.delete(scheduler.active()[running], politely=True)
    assert end_of(scheduler, running).cause == "deleted"
    assert lines(tmp_path / "one.output") == ["up", "bye"]


def test_a_submission_deleted_before_its_wrapper_came_never_runs(
    scheduler: LocalScheduler, tmp_path: Path
) -> None:
    noted = write(tmp_path, "echo ran")
    scheduler._enter(noted)
    scheduler.delete(scheduler.active()["1"], politely=True)
    scheduler._spawn("1", noted.output)
    end = scheduler.status(["1"])["1"]
    assert (end.state, end.cause, end.start_us) == (AllocationState.ended, "deleted", None)
    assert lines(tmp_path / "one.output") == []


def test_what_a_script_leaves_behind_in_other_sessions_is_killed(
    scheduler: LocalScheduler, submit: Submit, tmp_path: Path
) -> None:
    end_of(scheduler, submit("setsid sleep 300 & echo $!"))
    left = int(lines(tmp_path / "one.output")[0])
    assert not lives(left)


def test_a_killed_wrapper_is_an_end_and_takes_its_processes_with_it(
    scheduler: LocalScheduler, submit: Submit, tmp_path: Path
) -> None:
    running = submit("sleep 300 & setsid sleep 300 & echo $$ $!; wait")
    wait_until(lambda: lines(tmp_path / "one.output"))
    pids = [int(pid) for pid in lines(tmp_path / "one.output")[0].split()]
    os.kill(wrapper_pid(scheduler, tmp_path, running), signal.SIGKILL)
    again = LocalScheduler(tmp_path / "local")
    assert end_of(again, running, timeout=2.0).cause == "its wrapper process was killed"
    assert not any(lives(pid) for pid in pids)


def test_the_wrapper_is_no_child_of_its_submitter_and_leads_a_session(
    scheduler: LocalScheduler, submit: Submit, tmp_path: Path
) -> None:
    pid = wrapper_pid(scheduler, tmp_path, submit("sleep 60"))
    assert psutil.Process(pid).ppid() != os.getpid()
    assert os.getsid(pid) == pid


def test_interrupts_reach_scripts_as_usual(scheduler: LocalScheduler, submit: Submit, tmp_path: Path) -> None:
    end_of(scheduler, submit("""grep -E 'Sig(Blk|Ign)' /proc/self/status"""))
    masks = [int(line.split()[1], 16) for line in lines(tmp_path / "one.output")]
    unheeded = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) for m in masks if m >> (n - 1) & 1]
    assert unheeded == []


RECORD = {"label": "a", "submitted_us": 10**15, "wall_time_sec": 60.0, "grace_sec": 5.0}
CLAIM = {"pid": 7, "identity": "boot:1", "host": "here", "start_us": 10**15}


def lost(claim: dict[str, object] | None, host: str, identity: str | None, after_sec: float) -> str | None:
    record = parse_record("1", json.dumps(RECORD), json.dumps(claim) if claim else None, None)
    return lost_cause(record, host, identity, record.submitted_us, int(10**15 + after_sec * 1e6))


@pytest.mark.parametrize(
    ("claim", "host", "identity", "after_sec", "cause"),
    [
        (None, "here", None, CLAIM_SEC - 1, None),
        (None, "here", None, CLAIM_SEC + 1, "its wrapper process did not start"),
        (CLAIM, "here", "boot:1", 10**6, None),
        (CLAIM, "here", "boot:2", 1, "its wrapper process was killed"),
        (CLAIM, "here", None, 1, "its wrapper process was killed"),
        (CLAIM, "there", None, 60, None),
        (CLAIM, "there", None, 60 + 5 + CLAIM_SEC + 1, "its host here did not say how it ended"),
    ],
)
def test_an_allocation_is_lost_when_nobody_can_end_it_any_more(
    claim: dict[str, object] | None, host: str, identity: str | None, after_sec: float, cause: str | None
) -> None:
    assert lost(claim, host, identity, after_sec) == cause
