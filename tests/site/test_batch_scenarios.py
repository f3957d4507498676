"""What happens to allocations of every batch system: the same scenarios, with real processes.

A new batch system is a new parameter: its commands in `fake_batch.py`, and its words here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    Later,
    QueueView,
    Submission,
    Submitted,
    Submitting,
    Unsure,
)
from balsam.platform.schedulers.batch_system import BatchScheduler, SubmitForm
from balsam.platform.schedulers.commands import CommandLine
from balsam.site.agent import BATCH_SYSTEMS
from tests.site.fake_batch import ROLES, FakeBatch
from tests.waiting import wait_until

LABEL = "babc234-7"
# How each refuses: exit code and words.
REFUSES = {
    "slurm": (1, "sbatch: error: Batch job submission failed: Invalid qos specification"),
    "pbs": (170, "qsub: Unknown queue"),
    "lsf": (255, "q: No such queue. Job not submitted."),
    "flux": (1, "flux-batch: ERROR: 'q' is not a valid queue"),
    "grid_engine": (1, 'Unable to run job: Job was rejected because job requests unknown queue "q"'),
}
# How each says that another time it may take it. Of Flux no such words are known.
PUTS_OFF = {
    "slurm": (1, "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
    "pbs": (38, "qsub: would exceed queue generic's per-user limit"),
    "lsf": (255, "User pending job limit has been reached. Job not submitted."),
    "grid_engine": (1, "Unable to run job: unable to contact qmaster"),
}


@dataclass
class Desk:
    """A batch system, its commands and a script that waits for its end."""

    batch: FakeBatch
    scheduler: BatchScheduler
    folder: Path

    def submission(self, script: str) -> Submission:
        path = self.folder / "script.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return Submission(LABEL, path, self.folder / "output", self.folder, 5, 1, "q", "p")

    def until(self, file: str, then: str) -> str:
        """A script that waits for a file."""
        return f"echo up; until test -e {self.folder / file}; do sleep 0.05; done; {then}"

    def submit(self, script: str = "sleep 300") -> Submitting:
        return self.scheduler.submit(self.submission(script))

    def run(self, script: str) -> Allocation:
        """Submitted, and seen to run."""
        assert isinstance(self.submit(script), Submitted)
        wait_until(lambda: self.mine() and self.mine()[0].state is AllocationState.running)
        wait_until(lambda: (self.folder / "output").read_text())
        return self.mine()[0]

    def mine(self, view: QueueView | None = None) -> list[Allocation]:
        shown = (view or self.scheduler.look()).allocations
        return [one for one in shown if one.label == LABEL and one.state is not AllocationState.ended]

    def await_end(self) -> None:
        wait_until(lambda: "end" in self.batch.jobs()[0])

    def cause(self, known: Allocation) -> str:
        records = self.scheduler.account({known.scheduler_id: LABEL})
        assert not records.trouble
        return records.allocations[known.scheduler_id].cause or ""


def scheduler_of(batch: FakeBatch, time_limit_sec: float = 60.0) -> BatchScheduler:
    system = BATCH_SYSTEMS[batch.system](SubmitForm())
    environ = {**os.environ, "PATH": f"{batch.bin}:{os.environ['PATH']}"}
    return BatchScheduler(system, CommandLine(system.surroundings, environ, time_limit_sec, 0.0), "me")


@pytest.fixture(params=ROLES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    batch = FakeBatch(tmp_path / "batch", request.param)
    yield Desk(batch, scheduler_of(batch), tmp_path)
    batch.end()


def test_it_is_submitted_runs_and_ends_with_its_code(desk: Desk) -> None:
    known = desk.run(desk.until("go", "exit 3"))
    assert known.start_us and known.queue == "q"
    (desk.folder / "go").touch()
    desk.await_end()
    view = desk.scheduler.look()
    assert view.complete and not desk.mine(view)
    assert desk.cause(known) == "exit 3"


def test_a_refusal_stays_and_its_words_are_kept(desk: Desk) -> None:
    code, words = REFUSES[desk.batch.system]
    desk.batch.order("submit", rc=code, stderr=words)
    assert desk.submit() == Declined(words)
    assert not desk.batch.jobs()


def test_what_passes_is_no_refusal(desk: Desk) -> None:
    code, words = PUTS_OFF.get(desk.batch.system, (1, "who knows what this is"))
    desk.batch.order("submit", rc=code, stderr=words)
    kind = Later if desk.batch.system in PUTS_OFF else Unsure
    assert desk.submit() == kind(words)


def test_a_submission_whose_answer_was_lost_is_found_by_its_name(desk: Desk) -> None:
    """Kind: what was not answered was not done."""
    desk.batch.order("submit", hang=600, done=True)
    outcomes: list[Submitting] = []
    submitting = threading.Thread(target=lambda: outcomes.append(desk.submit(desk.until("go", "exit 0"))))
    submitting.start()
    wait_until(lambda: any("pid" in job for job in desk.batch.jobs()))
    desk.scheduler.close()  # as when the agent ends
    submitting.join()
    assert isinstance(outcomes[0], Unsure)
    desk.scheduler = scheduler_of(desk.batch)
    [known] = desk.mine()
    (desk.folder / "go").touch()
    desk.await_end()
    records = desk.scheduler.search([LABEL, "babc234-8"], known.submit_us or 0)
    assert not records.trouble and [one.label for one in records.allocations.values()] == [LABEL]


def test_its_end_is_asked_for_and_told_by_its_cause(desk: Desk) -> None:
    known = desk.run("trap 'echo bye; kill $! 2>/dev/null; exit 0' TERM USR2; echo up; sleep 300 & wait")
    assert desk.scheduler.delete(known, politely=True) == ""
    desk.await_end()
    assert (desk.folder / "output").read_text() == "up\nbye\n"
    assert desk.cause(known).startswith(("exit 0", EndOf.cancelled))
    assert desk.scheduler.delete(known, politely=False) == ""  # there is nothing left


def test_the_end_of_its_wall_time_is_told(desk: Desk) -> None:
    known = desk.run("echo up; sleep 300")
    desk.batch.expire(1)
    desk.await_end()
    assert desk.cause(known) == "walltime"


def test_one_that_is_gone_and_not_recorded_yet_is_not_known_to_have_ended(desk: Desk) -> None:
    """Kind: gone is taken for finished, or a record that lags for none."""
    known = desk.run(desk.until("go", "exit 1"))
    desk.batch.hide(True)
    (desk.folder / "go").touch()
    desk.await_end()
    assert desk.scheduler.look().complete
    records = desk.scheduler.account({known.scheduler_id: LABEL})
    assert not records.trouble and not records.allocations and records.kept
    desk.batch.hide(False)
    assert desk.cause(known) == "exit 1"
    assert not desk.scheduler.account({known.scheduler_id: "babc234-8"}).allocations  # another's


def test_no_failure_and_no_garbage_is_taken_for_a_listing(desk: Desk) -> None:
    """Kind: a failure to look is taken for what there is to see."""
    known = desk.run("echo up; sleep 300")
    desk.batch.order("look", text="\0\1 one|two|three\n")
    desk.batch.order("look", rc=1, stderr="away")
    desk.batch.order("look", hang=600)
    garbage, away = desk.scheduler.look(), desk.scheduler.look()
    hung = scheduler_of(desk.batch, time_limit_sec=0.3).look()
    assert (not garbage.complete and garbage.unreadable) or desk.batch.system == "grid_engine"
    assert (away.complete, away.trouble) == (False, "away")
    assert not hung.complete and "did not answer within 0.3 s" in hung.trouble
    assert [one.scheduler_id for one in desk.mine()] == [known.scheduler_id]
