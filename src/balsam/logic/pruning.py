"""Retention: jobs that ended long ago are removed, and totals are kept of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from balsam.store import jobs, pruning, totals
from balsam.store.database import Database
from balsam.store.owner import Owner
from balsam.store.pruning import Place

BATCH = 500  # jobs in one transaction: a few hundredths of a second
ADDED = ("jobs", "events", "runs", "kept")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be. `kept`: old jobs for which unfinished ones wait."""

    jobs: int = 0
    events: int = 0
    runs: int = 0
    kept: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(getattr(self, name) + getattr(other, name) for name in ADDED))


def prune(
    db: Database, cutoff: int, *, dry_run: bool = False, on_batch: Callable[[Pruned], object] | None = None
) -> Pruned:
    """Removes all users' jobs that have ended and were last changed before `cutoff` (microseconds).

    A job goes with its events, runs, transfers and tags, in one transaction with the totals that stay.
    Between transactions others have as much time as one took. `on_batch` is told what has gone so far. May be
    ended at any time, and run beside the server.
    """
    gone = Pruned()
    with db.read() as conn:
        everybody = pruning.owners(conn)
    for owner in everybody:
        for job_ids in _batches(db, owner, cutoff):
            began = time.monotonic()
            gone += _look(db, owner, job_ids) if dry_run else _remove(db, owner, job_ids, cutoff)
            if on_batch is not None:
                on_batch(gone)
            if not dry_run:
                time.sleep(time.monotonic() - began)
    return gone


def _batches(db: Database, owner: Owner, cutoff: int) -> Iterator[list[int]]:
    place = Place()
    while True:
        with db.read() as conn:  # it may look through many: no place to hold up writers
            found = pruning.old(conn, owner, cutoff, place, BATCH)
        if not found:
            return
        yield [one.id for one in found]
        place = found[-1]


def _look(db: Database, owner: Owner, job_ids: list[int]) -> Pruned:
    with db.read() as conn:
        needed = pruning.needed(conn, owner, job_ids)
        free = [job_id for job_id in job_ids if job_id not in needed]
        return Pruned(len(free), *pruning.counts(conn, free), len(needed))


def _remove(db: Database, owner: Owner, job_ids: list[int], cutoff: int) -> Pruned:
    with db.write() as tx:
        locked = pruning.lock(tx.conn, owner, job_ids, cutoff)
        # After they are locked: whoever creates a child locks its parents, too.
        needed = pruning.needed(tx.conn, owner, locked)
        free = [job_id for job_id in locked if job_id not in needed]
        removed = Pruned(len(free), *pruning.counts(tx.conn, free), len(needed))
        totals.add(tx.conn, owner, totals.of_jobs(tx.conn, owner, free))
        jobs.remove(tx.conn, owner, free)
    return removed
