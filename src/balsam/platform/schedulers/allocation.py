"""What every batch scheduler does for a site: take scripts, tell how they fare, delete them.

Times are in microseconds since 1970 UTC. A sentence is the scheduler's own words, in one line.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class SchedulerError(Exception):
    """The batch system refused or could not be asked; the message is a sentence for the user."""


class AllocationState(StrEnum):
    """Where an allocation stands with the batch system.

    `ending`: its script is over or being ended, and its nodes are not free yet. `unknown`: in words that
    nobody here knows; it counts as whatever it was before.
    """

    queued = "queued"
    running = "running"
    ending = "ending"
    ended = "ended"
    unknown = "unknown"


@dataclass(frozen=True)
class Submission:
    """A script to be run on nodes.

    `label` is unique among all that the user ever submits here: by it a submission is found again when the
    submitter died before it could note the scheduler's id. `wall_time_min` in minutes.
    """

    label: str
    script: Path
    output: Path
    workdir: Path
    wall_time_min: int
    num_nodes: int = 1
    queue: str = ""
    project: str = ""


@dataclass(frozen=True)
class Submitted:
    """The batch system has taken it."""

    scheduler_id: str


@dataclass(frozen=True)
class Declined:
    """It will never take this; another attempt is of no use."""

    sentence: str


@dataclass(frozen=True)
class Later:
    """It has surely not taken it, and may do so another time."""

    sentence: str


@dataclass(frozen=True)
class Unsure:
    """It may have taken it: look for the label before it is submitted again."""

    sentence: str


Submitting = Submitted | Declined | Later | Unsure


@dataclass(frozen=True)
class Allocation:
    """What the batch system says of one submission.

    `reason`: why it waits, in the scheduler's words; `never`: it can't start before somebody changes
    something. `start_us` is when it did start, `expected_start_us` when it may. `cause` tells in a few words
    why it ended, beginning with one of `core.allocation_causes`. `earlier`: likewise for its earlier lives,
    of one that was put back into the queue.
    """

    scheduler_id: str
    label: str
    state: AllocationState
    start_us: int | None = None
    end_us: int | None = None
    cause: str | None = None
    reason: str = ""
    never: bool = False
    queue: str = ""
    num_nodes: int | None = None
    nodes: str = ""
    submit_us: int | None = None
    expected_start_us: int | None = None
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueView:
    """One look at the batch system, taken at `taken_at` (when the command began).

    `complete`: whether all of the user's allocations that have not ended are in it, so that one that is
    missing is gone. `trouble`: why it is not, in the scheduler's words. `unreadable`: lines as they were.
    """

    allocations: tuple[Allocation, ...] = ()
    complete: bool = True
    taken_at: int = 0
    trouble: str = ""
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """What accounting tells of allocations, by id; one that it does not know, or not yet, is left out.

    `trouble`: why it could not be asked. `kept` is False where this batch system keeps no records at all.
    """

    allocations: Mapping[str, Allocation] = field(default_factory=dict)
    trouble: str = ""
    kept: bool = True


class Scheduler(Protocol):
    """One batch system as one site sees it. Nothing here raises: what went wrong is in the values."""

    poll_sec: float  # how often `look` may be asked while allocations are active

    def submit(self, submission: Submission) -> Submitting: ...

    def look(self) -> QueueView:
        """All of the user's allocations that have not ended, in one look; some that have, too."""
        ...

    def account(self, labels: Mapping[str, str]) -> Records:
        """What is recorded of these ids; `labels`: the label of each, which tells a reused id apart."""
        ...

    def search(self, labels: Collection[str], since_us: int) -> Records:
        """What is recorded of submissions with these labels, made since then: for those without an id."""
        ...

    def delete(self, allocation: Allocation, politely: bool) -> str:
        """Asks for the end of an allocation, waiting or running; empty, or what went wrong.

        `politely`: its script gets SIGTERM, and time. `look` tells when it has ended.
        """
        ...

    def close(self) -> None:
        """Ends the command that is running, if any: the agent ends."""
        ...
