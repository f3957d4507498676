"""What jobs wait for through their parents, and these through theirs: followed to the root.

Parents are set when a job is made and exist by then, so that their ids are smaller and there are no circles.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from balsam.core.states import JobState, ParentsMust
from balsam.logic.signature import failure
from balsam.store import event_lists
from balsam.store.events import EventFilter
from balsam.store.lineage import Relative, relatives
from balsam.store.owner import Owner
from balsam.store.paging import Page

MAX_LOOKED_AT = 50_000  # jobs for one answer; chains beyond are told up to where they were followed
AWAITING = JobState.awaiting_parents


@dataclass(frozen=True, slots=True)
class Chain:
    """From a job's parent to the root: each but the last waits for the one behind it.

    `state`: the root's, None where it was deleted. `is_lost`: the job can never start as things are.
    """

    job_ids: tuple[int, ...]
    state: JobState | None
    is_lost: bool

    @property
    def root(self) -> int:
        return self.job_ids[-1]

    @property
    def _rank(self) -> tuple[bool, int, bool]:
        return not self.is_lost, len(self.job_ids), self.state is not None


class Ancestors:
    """Of one owner's jobs, read level by level when they are first needed."""

    def __init__(self, conn: Connection, owner: Owner) -> None:
        self._conn = conn
        self._owner = owner
        self._known: dict[int, Relative | None] = {}
        self._chains: dict[int, Chain | None] = {}
        self._reasons: dict[int, str] = {}

    def chain_of(self, job_id: int, parent_ids: Collection[int], must: str) -> Chain | None:
        """Why an AWAITING_PARENTS job waits: what is lost before what is not done; None where nothing is.

        The shortest chain of those, so that the nearest cause is told.
        """
        self.read(parent_ids)
        return self._chain(Relative(AWAITING, list(parent_ids), must))

    def state(self, job_id: int) -> JobState | None:
        """None: there is no such job."""
        self.read([job_id])
        known = self._known.get(job_id)
        return None if known is None else known.state

    def reason(self, job_id: int) -> str:
        """Why a job FAILED, as one line; empty where nobody told."""
        if job_id not in self._reasons:
            f = EventFilter(job_id=[job_id], to_state=[JobState.failed])
            rows = event_lists.page(self._conn, self._owner.everywhere, f, Page(limit=1, order="-id"))
            self._reasons[job_id] = failure(rows[0]["data"]) if rows else ""
        return self._reasons[job_id]

    def read(self, job_ids: Collection[int]) -> None:
        """Reads jobs and what they wait for; one statement for each level."""
        level = {one for one in job_ids if one not in self._known}
        fresh: set[int] = set()
        while level and len(self._known) < MAX_LOOKED_AT:
            found = relatives(self._conn, self._owner, level)
            self._known.update({one: found.get(one) for one in level})
            fresh |= level
            waiting = [found[one] for one in level if one in found and found[one].state is AWAITING]
            level = {parent for one in waiting for parent in one.parent_ids if parent not in self._known}
        for one in sorted(fresh):  # parents before their children
            known = self._known[one]
            self._chains[one] = self._chain(known) if known is not None and known.state is AWAITING else None

    def _chain(self, job: Relative) -> Chain | None:
        must_finish = job.parents_must == ParentsMust.finish
        chains = [self._through(parent, must_finish) for parent in sorted(job.parent_ids)]
        return min((one for one in chains if one is not None), key=lambda one: one._rank, default=None)

    def _through(self, parent: int, must_finish: bool) -> Chain | None:
        """What is waited for through one parent; None where it has done what it must."""
        if parent not in self._known:
            return Chain((parent,), AWAITING, is_lost=False)  # beyond what is looked at
        known = self._known[parent]
        if known is None:
            return Chain((parent,), None, is_lost=True)
        if known.state is JobState.failed:
            return Chain((parent,), known.state, is_lost=True) if must_finish else None
        if known.state is JobState.job_finished:
            return None
        beyond = self._chains.get(parent)
        if beyond is None:
            return Chain((parent,), known.state, is_lost=False)
        return Chain((parent, *beyond.job_ids), beyond.state, beyond.is_lost)


def lost(conn: Connection, owner: Owner, rows: Collection[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of these AWAITING_PARENTS jobs those that can never start as things are, and why; as it travels."""
    ancestors = Ancestors(conn, owner)
    ancestors.read({parent for row in rows for parent in row["parent_ids"]})
    found = []
    for row in rows:
        chain = ancestors.chain_of(row["id"], row["parent_ids"], row["parents_must"])
        if chain is not None and chain.is_lost:
            reason = ancestors.reason(chain.root) if chain.state is not None else ""
            found.append(
                {
                    "job_id": row["id"],
                    "chain": list(chain.job_ids),
                    "root_state": chain.state,
                    "reason": reason,
                }
            )
    return found
