"""The scheduler of a machine without a batch system: the operating system takes its place.

Each submission is a record in the site's folder and a detached wrapper process (`local_wrapper.py`); both
outlive the agent. Ids are numbers counted per site, never process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from balsam.core.clock import now_us
from balsam.platform.schedulers import local_wrapper as wrapper
from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    QueueView,
    Records,
    SchedulerError,
    Submission,
    Submitted,
    Submitting,
)

GRACE_SEC = 10.0  # between SIGTERM at the wall time and SIGKILL
CLAIM_SEC = 20.0  # a wrapper that has not claimed its record by then never started
SPAWN_SEC = 30.0


@dataclass(frozen=True)
class Claim:
    """Who runs an allocation; `start_us` is None where it was ended before it ran."""

    pid: int
    identity: str | None
    host: str
    start_us: int | None


@dataclass(frozen=True)
class End:
    """When and why an allocation ended."""

    end_us: int
    cause: str


@dataclass(frozen=True)
class Record:
    """An allocation's files, read."""

    scheduler_id: str
    label: str
    submitted_us: int
    wall_time_sec: float
    grace_sec: float
    claim: Claim | None
    end: End | None
    marker: str | None = None


def wrapper_command(python: str, record: Path) -> list[str]:
    """The command line that runs the allocation of a record file."""
    return [python, "-I", "-S", wrapper.__file__, str(record)]


def parse_record(scheduler_id: str, submission: str, claim: str | None, end: str | None) -> Record:
    """A record from the texts of its files; None for a file that does not exist."""
    facts = json.loads(submission)
    return Record(
        scheduler_id=scheduler_id,
        label=facts["label"],
        submitted_us=facts["submitted_us"],
        wall_time_sec=facts["wall_time_sec"],
        grace_sec=facts["grace_sec"],
        claim=Claim(**json.loads(claim)) if claim else None,
        end=End(**json.loads(end)) if end else None,
        marker=facts.get("marker"),
    )


def as_allocation(record: Record) -> Allocation:
    """What a record's files say, in the words of every scheduler."""
    state = AllocationState.running if record.claim else AllocationState.queued
    return Allocation(
        scheduler_id=record.scheduler_id,
        label=record.label,
        state=AllocationState.ended if record.end else state,
        start_us=record.claim.start_us if record.claim else None,
        end_us=record.end.end_us if record.end else None,
        cause=record.end.cause if record.end else None,
    )


def lost_cause(record: Record, host: str, identity: str | None, spawned_us: int, now: int) -> str | None:
    """Why an allocation without an end is over nevertheless, else None.

    `identity`: of the process that now has the claim's pid on this host. `spawned_us`: when its wrapper was
    started last.
    """
    if record.claim is None:
        overdue = now - spawned_us > CLAIM_SEC * 1e6
        return "its wrapper process did not start" if overdue else None
    if record.claim.host == host:
        return "its wrapper process was killed" if identity != record.claim.identity else None
    allowed_sec = record.wall_time_sec + record.grace_sec + CLAIM_SEC
    last_us = (record.claim.start_us or record.submitted_us) + allowed_sec * 1e6
    # Whether it lives can't be seen from here; that its time is up can.
    return f"its host {record.claim.host} did not say how it ended" if now > last_us else None


class LocalScheduler:
    """Runs allocations as processes of this machine; state in `folder`."""

    poll_sec = 0.5

    def __init__(self, folder: Path, python: str = sys.executable, grace_sec: float = GRACE_SEC) -> None:
        self._folder = folder.resolve()
        self._python = python
        self._grace_sec = grace_sec
        self._host = socket.gethostname()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._labels: dict[str, str] = {}
        self._ended: dict[str, Record] = {}
        self._spawned_us: dict[str, int] = {}
        self._noted: set[str] = set()
        self._learn()

    def _learn(self) -> None:
        """Reads the submissions that others have made in this folder."""
        known = set(self._labels.values())
        for path in self._submissions():
            if path.stem not in known:
                record = self._read(path.stem)
                self._labels[record.label] = record.scheduler_id

    def submit(self, submission: Submission) -> Submitting:
        """The same label again answers the same id and submits nothing."""
        try:
            return Submitted(self._submit(submission))
        except (SchedulerError, OSError) as exc:
            return Declined(str(exc))

    def _submit(self, submission: Submission) -> str:
        scheduler_id = self._labels.get(submission.label)
        if scheduler_id is None:
            with self._alone():
                self._learn()  # somebody else in this folder may have been quicker
                scheduler_id = self._labels.get(submission.label) or self._enter(submission)
        if self._read(scheduler_id).claim is None:
            # A second wrapper for one record does no harm: only one can claim it.
            self._spawn(scheduler_id, submission.output)
        return scheduler_id

    def find(self, label: str) -> str | None:
        """The id of a label that was submitted, else None."""
        return self._labels.get(label)

    def look(self) -> QueueView:
        taken_at = now_us()
        found = self.active()
        self._start_noted({i for i, a in found.items() if a.state is AllocationState.queued})
        return QueueView(tuple(found.values()), taken_at=taken_at)

    def _start_noted(self, waiting: set[str]) -> None:
        """Starts what was noted by somebody who died before the start; not at the first sight of it."""
        for scheduler_id in sorted((waiting & self._noted) - self._spawned_us.keys()):
            output = json.loads(self._path(scheduler_id).read_text(encoding="utf-8"))["output"]
            with contextlib.suppress(SchedulerError):  # after a while the record says that it did not start
                self._spawn(scheduler_id, Path(output))
        self._noted = waiting

    def account(self, labels: Mapping[str, str]) -> Records:
        found = self.status(labels)
        return Records({i: a for i, a in found.items() if a.label == labels[i]})

    def search(self, labels: Collection[str], since_us: int) -> Records:
        return Records(self.status(i for label in labels if (i := self.find(label)) is not None))

    def status(self, scheduler_ids: Iterable[str]) -> dict[str, Allocation]:
        """What is known of these ids; one that there is no record of is left out."""
        known = [i for i in scheduler_ids if i in self._ended or self._path(i).exists()]
        return {i: as_allocation(self._settle(i)) for i in known}

    def active(self) -> dict[str, Allocation]:
        """All submissions of this site that have not ended."""
        open_ids = [i for i in self._labels.values() if i not in self._ended]
        found = self.status(open_ids)
        return {i: a for i, a in found.items() if a.state is not AllocationState.ended}

    def delete(self, allocation: Allocation, politely: bool) -> str:
        """Always politely: its wrapper kills what does not end in time."""
        path = self._path(allocation.scheduler_id)
        if not path.exists():
            return f"the local scheduler has no allocation {allocation.scheduler_id} in {self._folder}"
        # Whoever claims an allocation decides its fate: claimed here, no wrapper will ever start it.
        if wrapper.claim(path, starts=False):
            wrapper.write_end(path, "deleted")
            return ""
        record = self._settle(allocation.scheduler_id)
        if record.end is None and record.claim is not None:
            return self._terminate(record.claim)
        return ""

    def close(self) -> None:
        """What runs outlives the agent."""

    def _terminate(self, claim: Claim) -> str:
        if claim.host != self._host:
            return f"the allocation runs on host {claim.host}; end process {claim.pid} there"
        with contextlib.suppress(ProcessLookupError):
            os.kill(claim.pid, signal.SIGTERM)
        return ""

    def _settle(self, scheduler_id: str) -> Record:
        """The record; one whose wrapper is gone is cleaned up and ended first."""
        if scheduler_id in self._ended:
            return self._ended[scheduler_id]
        record = self._read(scheduler_id)
        if record.end is None and (cause := self._lost(record)):
            self._bury(record, cause)
            record = self._read(scheduler_id)
        if record.end is not None:
            self._ended[scheduler_id] = record
        return record

    def _lost(self, record: Record) -> str | None:
        identity = wrapper.identity(record.claim.pid) if record.claim else None
        spawned_us = self._spawned_us.get(record.scheduler_id, record.submitted_us)
        return lost_cause(record, self._host, identity, spawned_us, now_us())

    def _bury(self, record: Record, cause: str) -> None:
        path = self._path(record.scheduler_id)
        if record.claim is None and not wrapper.claim(path, starts=False):
            return  # its wrapper came at the last moment
        wrapper.kill_members(record.marker or wrapper.marker_of(path))
        wrapper.write_end(path, cause)

    def _enter(self, submission: Submission) -> str:
        number = max((int(path.stem) for path in self._submissions()), default=0) + 1
        content = self._content(submission)
        while not wrapper.write_once(self._path(str(number)), content):
            number += 1
        self._labels[submission.label] = str(number)
        return str(number)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One submission at a time in this folder."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _content(self, submission: Submission) -> dict[str, Any]:
        paths = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(submission).items()}
        return {
            **paths,
            "wall_time_sec": submission.wall_time_min * 60.0,
            "grace_sec": self._grace_sec,
            "submitted_us": now_us(),
            "marker": uuid.uuid4().hex,
        }

    def _spawn(self, scheduler_id: str, output: Path) -> None:
        command = wrapper_command(self._python, self._path(scheduler_id))
        self._spawned_us[scheduler_id] = now_us()
        try:
            with output.open("ab") as log:
                started = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                    timeout=SPAWN_SEC,
                    check=False,
                )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SchedulerError(f"the local scheduler could not start {command[0]}: {exc}") from exc
        if started.returncode:
            raise SchedulerError(f"the local scheduler's wrapper failed to start; see {output}")

    def _submissions(self) -> list[Path]:
        return [path for path in self._folder.glob("*.json") if path.stem.isdigit()]

    def _path(self, scheduler_id: str) -> Path:
        return self._folder / f"{scheduler_id}.json"

    def _read(self, scheduler_id: str) -> Record:
        path = self._path(scheduler_id)
        # The end is read before the claim: an end without its claim would be a contradiction.
        end = _text(wrapper.end_path(path))
        claim = _text(wrapper.start_path(path))
        return parse_record(scheduler_id, path.read_text(encoding="utf-8"), claim, end)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
