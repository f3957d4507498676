"""Trying failed jobs once more."""

from __future__ import annotations

from collections.abc import Collection

from balsam.core.states import JobState, retried
from balsam.logic import advance
from balsam.schemas.jobs import JobUpdate
from balsam.store import jobs
from balsam.store.database import Tx
from balsam.store.owner import Owner


def retry(tx: Tx, owner: Owner, job_ids: Collection[int]) -> tuple[int, list[advance.Refusal]]:
    """Sends those of the jobs on that are FAILED: how many went, and the refusals of the others."""
    failed = [row for row in jobs.lock(tx.conn, owner, job_ids) if row["state"] == JobState.failed]
    updates = [(row["id"], JobUpdate(state=retried(row["num_runs"]))) for row in failed]
    refused = advance.apply(tx, owner, updates)
    return len(updates) - len(refused), refused
