"""A batch system that is spoken to by its commands: what its file holds, and who runs what that says.

A file for another batch system holds a frozen dataclass with the methods of `BatchSystem`, all of them pure:
they make words of commands and read outputs. `docs/schedulers.md` says what each has to take care of.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from balsam.core.clock import now_us
from balsam.core.plural import counted
from balsam.platform.schedulers.allocation import (
    Allocation,
    Later,
    QueueView,
    Records,
    Submission,
    Submitting,
)
from balsam.platform.schedulers.commands import NO_PROGRAM, Call, CommandLine, Done, Surroundings

log = logging.getLogger(__name__)

POLL_SEC = 30.0
MOST_TOLD = 1_000  # unreadable lines that are remembered as told


@dataclass(frozen=True)
class SubmitForm:
    """How a machine wants to be asked, where that is not as its batch system has it by default.

    None: that default. `queue_option`, `project_option`: before the name of a queue or project; empty: it is
    not passed. `always`: words of every submission, which take the place of those that make nodes whole.
    `nodes`: the whole request for nodes, with `{num_nodes}` in it, in the batch system's words.
    """

    queue_option: str | None = None
    project_option: str | None = None
    always: Sequence[str] | None = None
    nodes: str | None = None
    rerunnable: bool = False


class BatchSystem(Protocol):
    """One batch system as data and pure functions."""

    @property
    def surroundings(self) -> Surroundings:
        """What its commands find in their environment."""
        ...

    def submit(self, submission: Submission) -> Call: ...

    def read_submission(self, done: Done) -> Submitting:
        """What became of it; a command that was ended before it answered leaves it unsure."""
        ...

    def look(self, user: str) -> Sequence[Call]:
        """One command where that can be: all of the user's allocations, by no ids, queues or labels."""
        ...

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        """What is asked next about what the answers to `look` name, or those to `search` (`recorded`).

        For batch systems whose listings tell ids alone, or leave out why one waits; else none.
        """
        ...

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        """Of those to `look`, then those to `details`. `taken_at` is filled in by the caller."""
        ...

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        """None of them where accounting is not asked by id."""
        ...

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        """Likewise by label; none where the batch system can't be asked so."""
        ...

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        """All lives of all that is told, oldest first; what went wrong; whether records are kept."""
        ...

    def delete(self, allocation: Allocation, politely: bool) -> Call: ...

    def read_deletion(self, done: Done) -> str:
        """What went wrong; empty where it was heard, or where there is nothing left to delete."""
        ...


class BatchScheduler:
    """The scheduler of a site that is a batch system."""

    def __init__(
        self, system: BatchSystem, commands: CommandLine, user: str, poll_sec: float = POLL_SEC
    ) -> None:
        self.poll_sec = poll_sec
        self._system = system
        self._commands = commands
        self._user = user
        self._told: set[str] = set()

    def submit(self, submission: Submission) -> Submitting:
        done = self._commands.run(self._system.submit(submission))
        if done.returncode == NO_PROGRAM and not done.seconds:
            return Later(done.sentence)
        outcome = self._system.read_submission(done)
        log.info("submission of %s after %.1f s: %s", submission.label, done.seconds, outcome)
        return outcome

    def look(self) -> QueueView:
        taken_at = now_us()
        listed = self._run(self._system.look(self._user))
        view = self._system.read_look([*listed, *self._run(self._system.details(listed, recorded=False))])
        self._tell(view.unreadable)
        return replace(view, taken_at=taken_at)

    def account(self, labels: Mapping[str, str]) -> Records:
        told = self._read(self._run(self._system.account(sorted(labels))))
        # An id that the batch system has given away again tells nothing of ours.
        mine = [one for one in told[0] if labels.get(one.scheduler_id) == one.label]
        return Records(_last_lives(mine), told[1], told[2])

    def search(self, labels: Collection[str], since_us: int) -> Records:
        found = self._run(self._system.search(sorted(labels), since_us))
        told = self._read([*found, *self._run(self._system.details(found, recorded=True))])
        return Records(_last_lives([one for one in told[0] if one.label in labels]), told[1], told[2])

    def delete(self, allocation: Allocation, politely: bool) -> str:
        return self._system.read_deletion(self._commands.run(self._system.delete(allocation, politely)))

    def close(self) -> None:
        self._commands.close()

    def _run(self, calls: Sequence[Call]) -> list[Done]:
        return [self._commands.run(call) for call in calls]

    def _read(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        return self._system.read_account(answers) if answers else ([], "", True)

    def _tell(self, lines: Sequence[str]) -> None:
        """Once each: a line that can't be read comes again with every look."""
        new = [line for line in dict.fromkeys(lines) if line not in self._told]
        if new:
            shown = "\n".join(repr(line[:500]) for line in new[:20])
            log.warning("%s of the batch system can't be read:\n%s", counted(len(new), "line"), shown)
            self._told = set([*self._told, *new][-MOST_TOLD:])


def _last_lives(lives: Sequence[Allocation]) -> dict[str, Allocation]:
    """One for each id: its last life, with the ends of those before it."""
    found: dict[str, Allocation] = {}
    for life in lives:
        before = found.get(life.scheduler_id)
        earlier = () if before is None else (*before.earlier, before.cause or "unknown")
        found[life.scheduler_id] = replace(life, earlier=earlier)
    return found
