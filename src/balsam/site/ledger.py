"""What a site has asked its batch system for: one file for each BatchJob, in qsubmit/ledger.

It is written before a submission begins, so that an agent that dies in its midst leaves a word of it; and it
holds the ids that the batch system gave, which the server may not have heard.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)


class Step(StrEnum):
    """How far a submission came."""

    intended = "intended"  # begun; whether it was made is not known
    unsure = "unsure"  # likewise, and the batch system has not answered
    later = "later"  # not made, and to be tried again
    submitted = "submitted"
    ended = "ended"


UNCERTAIN = (Step.intended, Step.unsure)


@dataclass(frozen=True)
class LedgerEntry:
    """`begun_us`: when the last attempt at submission began. `submit_us`: by the batch system's own word.

    A later `submit_us` of the same allocation means that it was put back into the queue, `requeues` times so
    far. `deleted_us`: when its end was first asked for, by its user. `sentence`: of an attempt that failed.
    """

    batch_job_id: int
    site_id: int
    label: str
    step: Step
    begun_us: int
    attempts: int = 1
    scheduler_id: str | None = None
    submit_us: int | None = None
    requeues: int = 0
    deleted_us: int | None = None
    start_us: int | None = None
    end_us: int | None = None
    cause: str | None = None
    sentence: str = ""


class Ledger:
    """The entries of one site, in a folder. Raises OSError where it can't be written."""

    def __init__(self, folder: Path, site_id: int) -> None:
        self._folder = folder
        self._site_id = site_id
        self._entries: dict[int, LedgerEntry | None] = {}

    def of(self, batch_job_ids: Iterable[int]) -> dict[int, LedgerEntry]:
        """Those that there are."""
        found = {i: self._get(i) for i in batch_job_ids}
        return {i: entry for i, entry in found.items() if entry is not None}

    def note(self, entry: LedgerEntry) -> None:
        """For what can be found out again: where it can't be written, it is kept in memory."""
        try:
            self.put(entry)
        except OSError as exc:
            log.error("%s can't be written: %s", self._path(entry.batch_job_id), exc)
            self._entries[entry.batch_job_id] = entry

    def put(self, entry: LedgerEntry) -> None:
        """On disk when this returns."""
        if self._entries.get(entry.batch_job_id) == entry:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(entry.batch_job_id)
        draft = path.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._entries[entry.batch_job_id] = entry

    def forget_all_but(self, batch_job_ids: Iterable[int]) -> None:
        """From memory; the files stay."""
        wanted = set(batch_job_ids)
        self._entries = {i: entry for i, entry in self._entries.items() if i in wanted}

    def _get(self, batch_job_id: int) -> LedgerEntry | None:
        if batch_job_id not in self._entries:
            self._entries[batch_job_id] = self._read(batch_job_id)
        return self._entries[batch_job_id]

    def _read(self, batch_job_id: int) -> LedgerEntry | None:
        path = self._path(batch_job_id)
        try:
            entry = parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as exc:
            log.warning("%s can't be read, and counts as an unanswered submission: %s", path, exc)
            written = int(path.stat().st_mtime * 1e6)
            return LedgerEntry(batch_job_id, self._site_id, "", Step.intended, written)
        # A folder that was given to another site holds the words of the earlier one.
        return entry if entry.site_id == self._site_id else None

    def _path(self, batch_job_id: int) -> Path:
        return self._folder / f"{batch_job_id}.json"


def parse(text: str) -> LedgerEntry:
    """From a file's text; raises ValueError, TypeError or KeyError."""
    facts = json.loads(text)
    return LedgerEntry(**{**facts, "step": Step(facts["step"])})
