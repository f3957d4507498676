"""What every batch scheduler does for a site: take scripts, tell how they fare, delete them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class SchedulerError(Exception):
    """The batch system refused or could not be asked; the message is a sentence for the user."""


class AllocationState(StrEnum):
    """Where an allocation stands with the batch system."""

    queued = "queued"
    running = "running"
    finished = "finished"


@dataclass(frozen=True)
class Submission:
    """A script to be run on nodes.

    `label` is unique at the site: by it a submission is found again when the submitter died before it
    could note the scheduler's id. `wall_time_min` in minutes.
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
class Allocation:
    """What the batch system says of one submission; times in microseconds since 1970 UTC.

    `cause` tells in a few words why it ended: "exit 0", "killed by signal 9", "walltime", "deleted", or a
    sentence.
    """

    scheduler_id: str
    label: str
    state: AllocationState
    start_us: int | None = None
    end_us: int | None = None
    cause: str | None = None


class Scheduler(Protocol):
    """One batch system as one site sees it. All methods raise SchedulerError with a sentence."""

    poll_sec: float  # how often `status` may be asked while allocations are active

    def submit(self, submission: Submission) -> str:
        """The scheduler's id. The same label again answers the same id and submits nothing."""
        ...

    def find(self, label: str) -> str | None:
        """The scheduler's id of a label that was submitted, else None."""
        ...

    def status(self, scheduler_ids: Iterable[str]) -> dict[str, Allocation]:
        """What is known of these ids; an id that the batch system does not know is left out."""
        ...

    def active(self) -> dict[str, Allocation]:
        """All submissions of this site that have not ended."""
        ...

    def delete(self, scheduler_id: str) -> None:
        """Asks for the end of an allocation, waiting or running; `status` tells when it has ended."""
        ...
