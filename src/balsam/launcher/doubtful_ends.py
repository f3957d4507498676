"""Ends of runs that may be the batch system's doing: kept for a moment before they are judged.

A batch system that ends an allocation signals every process in it, so runs may be over before their launcher
has its own signal, or before its node is lost. Judged at once, such an end would be taken for the program's
own, and another run would be started in its place.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from balsam.launcher.ending_signals import is_by_signal
from balsam.launcher.reports import Ending

DOUBT_SEC = 2.0  # between the first signal that a batch system sends and the last one


@dataclass(frozen=True, slots=True)
class DoubtfulEnd:
    """`due`: when it is to be judged, of `time.monotonic()`."""

    job_id: int
    ending: Ending
    due: float


class DoubtfulEnds:
    """Those of one launcher, oldest first.

    `in_allocation`: of a batch system, whose signals programs and MPI launchers may turn into any exit code.
    """

    def __init__(self, *, in_allocation: bool) -> None:
        self._in_allocation = in_allocation
        self._kept: list[DoubtfulEnd] = []

    def is_one(self, ending: Ending) -> bool:
        return is_by_signal(ending.returncode) or (self._in_allocation and ending.returncode != 0)

    def keep(self, job_id: int, ending: Ending, now: float) -> None:
        self._kept.append(DoubtfulEnd(job_id, ending, now + DOUBT_SEC))

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def due(self) -> list[float]:
        """When the first is to be judged; empty without any."""
        return [one.due for one in self._kept[:1]]

    def take(self, now: float) -> list[DoubtfulEnd]:
        """Those that are due."""
        due = [one for one in self._kept if one.due <= now]
        self._kept = self._kept[len(due) :]
        return due

    def take_of(self, job_ids: Collection[int] | None) -> list[DoubtfulEnd]:
        """Those of these jobs; None: of all."""
        taken = [one for one in self._kept if job_ids is None or one.job_id in job_ids]
        self._kept = [one for one in self._kept if one not in taken]
        return taken
