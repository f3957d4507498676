"""Allocations: asking for them, and what the agent reports of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from balsam.core.clock import now_us, to_us
from balsam.core.errors import Invalid, NotFound
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, ENDED_BATCH_JOB_STATES, BatchJobState
from balsam.logic import sessions
from balsam.logic.submission import allocation_doubt
from balsam.schemas.batch_jobs import BatchJobBulkUpdate, BatchJobCreate, BatchJobUpdate
from balsam.store import batch_jobs, sites
from balsam.store.database import Tx
from balsam.store.owner import Owner


def create(tx: Tx, owner: Owner, want: BatchJobCreate, *, strict: bool = False) -> dict[str, Any]:
    """`strict`: refuses at once what the site's agent would refuse to submit."""
    site = sites.get(tx.conn, owner, want.site_id)
    if site is None:
        raise Invalid(f"No site with ID {want.site_id}")
    sentence = allocation_doubt(want, site) if strict else None
    if sentence:
        raise Invalid(sentence)
    values = want.model_dump(mode="json")
    values |= {"state": BatchJobState.pending_submission, "status_info": {}, "created": now_us()}
    row = batch_jobs.create(tx.conn, owner, values)
    tx.changed(owner.user_id, "batch_jobs", row["site_id"])
    return row


def change(tx: Tx, owner: Owner, batch_job_id: int, update: BatchJobUpdate) -> dict[str, Any]:
    found = batch_jobs.lock(tx.conn, owner, [batch_job_id])
    if not found:
        raise NotFound("Not found")
    return _change(tx, owner, found[0], update)


def change_many(
    tx: Tx, owner: Owner, updates: Sequence[BatchJobBulkUpdate]
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """The rows of those that were changed, and (id, reason) of the others."""
    wanted = {update.id for update in updates}
    rows = {row["id"]: row for row in batch_jobs.lock(tx.conn, owner, wanted)}
    refused = [(i, f"there is no BatchJob {i}") for i in sorted(wanted - rows.keys())]
    known = [update for update in updates if update.id in rows]
    for update in known:
        if rows[update.id]["state"] in ENDED_BATCH_JOB_STATES:
            # A late report of the agent; the other items must not suffer for it.
            update = update.model_copy(update={"state": None})
        rows[update.id] = _change(tx, owner, rows[update.id], update)
    return [rows[update.id] for update in known], refused


def _change(tx: Tx, owner: Owner, row: dict[str, Any], update: BatchJobUpdate) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in update.model_dump(exclude_unset=True, exclude={"id", "requeued"}).items():
        if value is not None:
            values[name] = to_us(value) if name in ("start_time", "end_time") else value
    if "notes" in values:
        noted = values.get("status_info", row["status_info"]) | values.pop("notes")
        values["status_info"] = {name: text for name, text in noted.items() if text is not None}
    if row["state"] in ENDED_BATCH_JOB_STATES and values.get("state") not in (None, row["state"]):
        raise Invalid(f"BatchJob {row['id']} is {row['state']}: it can't go to {values['state']}")
    if row["state"] == BatchJobState.pending_deletion and values.get("state") in (
        BatchJobState.queued,
        BatchJobState.running,
    ):
        # The agent's report crossed the user's wish on the way: the wish stays.
        del values["state"]
    now = now_us()
    if update.requeued is not None and row["state"] in ACTIVE_BATCH_JOB_STATES:
        _begin_anew(tx, owner, row, to_us(update.requeued))
        values.setdefault("start_time", None)
    if update.state is BatchJobState.running:
        values["seen"] = now
    if not values:
        return row
    changed = batch_jobs.change(tx.conn, owner, row["id"], values)
    if values.keys() != {"seen", "state"} or row["state"] != changed["state"]:
        tx.changed(owner.user_id, "batch_jobs", row["site_id"])
    if changed["state"] in ENDED_BATCH_JOB_STATES and row["state"] not in ENDED_BATCH_JOB_STATES:
        message = f"The allocation of BatchJob {row['id']} ended: {changed['cause'] or changed['state']}"
        sessions.end_of_batch_jobs(tx, owner, {row["id"]: changed["end_time"] or now}, message)
    return changed


def _begin_anew(tx: Tx, owner: Owner, row: dict[str, Any], requeued: int) -> None:
    """Ends the launchers that ran before the batch system put their allocation back into its queue."""
    message = f"The allocation of BatchJob {row['id']} was put back into the queue"
    sessions.end_of_batch_jobs(tx, owner, {row["id"]: requeued}, message, lived_before=requeued)
