"""What a launcher's loop is given: where its runs happen, its limits, and whom it reports to."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from balsam.launcher.appetite import Wanted
from balsam.launcher.executor import Callbacks, Executor
from balsam.launcher.last_word import LauncherEnd
from balsam.platform.nodes import Node
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.updates import Update
from balsam.runtime.worker_pool import WorkerSetting


class Reporting(Protocol):
    """The courier, as the loop sees it."""

    def report(self, *updates: Update) -> None: ...
    def note_job(self, job_id: int) -> None: ...
    def note_ending(self, end: LauncherEnd) -> None: ...
    def ask(self, wanted: Wanted, answers_seen: int) -> None: ...
    def acknowledge(self) -> None: ...
    def doubt(self) -> None: ...
    def give_back(self, job_ids: Collection[int]) -> None: ...
    def tell_trouble(self, sentence: str) -> None: ...
    def hint(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    """Times are of `time.monotonic()`.

    `max_runs`: at a time. `warn_at`: when runs get the signal `warning`, before they are ended at `end_at`.
    `long_first`: the order that the site's `sort_by` asks for.
    """

    end_at: float
    idle_ttl_sec: float
    prefetch_per_slot: int
    error_tail_lines: int
    stop_on_cut: bool
    max_runs: int | None = None
    warn_at: float | None = None
    warning: Signals = Signals.SIGUSR1
    long_first: bool = False


@dataclass(frozen=True)
class Surroundings:
    """Where runs happen: the site, the nodes, and what every run finds in its environment.

    `nodes`: those of the allocation that are there from the beginning; others join.
    `is_mpi`: an MPI launcher starts each run, behind the preamble of its app. `in_allocation`: of a batch
    system, which signals all processes when it ends one.
    """

    site_path: Path
    data_path: Path
    allocation: Sequence[Node]
    nodes: Sequence[Node]
    environment: Mapping[str, str]
    make_executor: Callable[[selectors.BaseSelector, WorkerSetting, GuardLink, Callbacks], Executor]
    may_share_nodes: bool = True
    is_mpi: bool = False
    in_allocation: bool = False
