"""Transfer items: what the transfer service reports, and the jobs that it lets go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from balsam.core.errors import Invalid
from balsam.core.states import JobState, TransferDirection, TransferItemState
from balsam.logic import advance
from balsam.schemas.transfers import TransferItemBulkUpdate
from balsam.store import jobs, transfers
from balsam.store.database import Tx
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.transfers import TransferFilter


def change_many(tx: Tx, owner: Owner, updates: Sequence[TransferItemBulkUpdate]) -> list[dict[str, Any]]:
    """All or nothing; a job whose last item in a direction is done goes on.

    The jobs are locked first: of two requests that each end one of a job's last two items, the second then
    sees both.
    """
    jobs.lock(tx.conn, owner, transfers.jobs_of(tx.conn, owner, [update.id for update in updates]))
    rows = []
    for update in updates:
        sent = update.model_dump(exclude_unset=True, exclude={"id"})
        values = {name: value for name, value in sent.items() if value is not None}
        row = transfers.change(tx.conn, owner, update.id, values or {"id": update.id})
        if row is None:
            raise Invalid("Some TransferItems not found")
        rows.append(row)
    for direction in TransferDirection:
        done = {
            row["job_id"]
            for row in rows
            if row["direction"] == direction and row["state"] == TransferItemState.done
        }
        _go_on(tx, owner, done, direction)
    return rows


def delete_matching(tx: Tx, owner: Owner, f: TransferFilter) -> None:
    """A job that waits for nothing else goes on: its files were brought in another way, or are not wanted."""
    found = transfers.page(tx.conn, owner, f, Page())
    jobs.lock(tx.conn, owner, {row["job_id"] for row in found})
    transfers.delete(tx.conn, owner, [row["id"] for row in found])
    for direction in TransferDirection:
        _go_on(tx, owner, {row["job_id"] for row in found if row["direction"] == direction}, direction)


def _go_on(tx: Tx, owner: Owner, touched: set[int], direction: TransferDirection) -> None:
    stage_in = direction is TransferDirection.stage_in
    staging = jobs.staging(tx.conn, owner, touched)
    complete = touched - (staging.still_in if stage_in else staging.still_out)
    waits = JobState.ready if stage_in else JobState.postprocessed
    states = jobs.parent_states(tx.conn, owner, complete)
    moving = [job_id for job_id in complete if states.get(job_id) is waits]
    if moving:
        advance.move(tx, owner, moving, JobState.staged_in if stage_in else JobState.staged_out, {})
