"""BatchJobs over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response
from pydantic import WrapValidator

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_BULK_ITEMS_ACCEPTED, MAX_EXPLAINED, MAX_ID
from balsam.logic import batch_jobs, site_agents
from balsam.logic.batch_job_why import why
from balsam.logic.once import once
from balsam.schemas.agents import SubmissionClaim
from balsam.schemas.batch_jobs import (
    BatchJobBulkUpdate,
    BatchJobCreate,
    BatchJobOut,
    BatchJobUpdate,
    BatchJobWhyOut,
    PaginatedBatchJobOut,
)
from balsam.server import answers, items
from balsam.server.context import Caller, Lenient, OnceKey, Srv, Strict
from balsam.server.queries import BatchJobQuery, BatchJobs, BatchJobsToChange, BatchJobTarget
from balsam.server.query_strings import documented
from balsam.store import batch_jobs as store
from balsam.store.paging import next_cursor

router = APIRouter(prefix="/batch-jobs", tags=["batch-jobs"])
# May be a Rejected, which `items.split` tells apart.
Item = Annotated[BatchJobBulkUpdate, WrapValidator(items.or_rejected)]
BulkUpdates = Annotated[list[Item], Body(max_length=MAX_BULK_ITEMS_ACCEPTED)]
BatchJobId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get("/", responses={200: {"model": PaginatedBatchJobOut}}, openapi_extra=documented(BatchJobQuery))
def list_batch_jobs(server: Srv, caller: Caller, query: BatchJobs) -> Response:
    page = query.page(query.ordering or "id")
    with query.look(server.db) as conn:
        rows = store.page(conn, caller, query.filter(), page)
        total = store.count(conn, caller, query.filter()) if query.counted else None
    return answers.listing(rows, answers.batch_job, total, next_cursor(rows, page))


@router.post("/", status_code=201, responses={201: {"model": BatchJobOut}})
def create_batch_job(
    server: Srv, caller: Caller, key: OnceKey, strict: Strict, body: BatchJobCreate
) -> Response:
    """With `Prefer: handling=strict` what the site's queues do not take is refused; else its agent does."""

    def create() -> dict[str, Any]:
        return answers.batch_job(batch_jobs.create(tx, caller, body, strict=strict))

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, create)
    return answers.json_answer(answer, 201)


@router.patch("/", responses={200: {"model": list[BatchJobOut]}})
def change_batch_jobs(
    server: Srv, caller: Caller, key: OnceKey, lenient: Lenient, body: BulkUpdates
) -> Response:
    """Changes item by item; a state reported of one that has ended is passed over.

    400 where none was changed, but with `Prefer: handling=lenient`. Answers the changed ones; the header
    `Balsam-Refused` names the others: a JSON list of [id, reason].
    """
    valid, rejected = items.split(body)

    def change() -> dict[str, Any]:
        rows, refused = batch_jobs.change_many(tx, caller, valid)
        return {"rows": [answers.batch_job(r) for r in rows], "refused": items.named([*rejected, *refused])}

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, change)
    items.require_some(len(answer["rows"]), answer["refused"], lenient=lenient)
    return answers.json_answer(answer["rows"], headers=items.header(answer["refused"]))


@router.put("/", response_model=int, openapi_extra=documented(BatchJobTarget))
def change_matching_batch_jobs(
    server: Srv, caller: Caller, key: OnceKey, choice: BatchJobsToChange, body: BatchJobUpdate
) -> Response:
    """The same change for every BatchJob that the filters choose, of which there must be one at least."""
    chosen = choice.target()

    def change() -> int:
        ids = store.ids(tx.conn, caller, chosen)
        updates = [BatchJobBulkUpdate(id=one, **body.model_dump(exclude_unset=True)) for one in ids]
        return len(batch_jobs.change_many(tx, caller, updates)[0])

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, change)
    return answers.json_answer(answer)


@router.delete("/", status_code=204, openapi_extra=documented(BatchJobTarget))
def delete_matching_batch_jobs(server: Srv, caller: Caller, choice: BatchJobsToChange) -> Response:
    """Those that the filters choose, of which there must be one at least."""
    chosen = choice.target()
    with server.db.write() as tx:
        for row in store.lock(tx.conn, caller, store.ids(tx.conn, caller, chosen)):
            store.remove(tx.conn, caller, row["id"])
            tx.changed(caller.user_id, "batch_jobs", row["site_id"])
    return answers.no_content()


@router.get("/why", response_model=list[BatchJobWhyOut], openapi_extra=documented(BatchJobQuery))
def why_many(server: Srv, caller: Caller, query: BatchJobs) -> list[dict[str, Any]]:
    """Why each of the chosen allocations is where it is, or why it ended: of the first 1,000."""
    with server.db.read() as conn:
        page = replace(query.page(query.ordering or "id"), limit=min(query.limit, MAX_EXPLAINED))
        return why(conn, caller, store.page(conn, caller, query.filter(), page))


@router.get("/{batch_job_id}/why", response_model=BatchJobWhyOut)
def why_one(server: Srv, caller: Caller, batch_job_id: BatchJobId) -> dict[str, Any]:
    """One sentence and a code for where the allocation stands."""
    with server.db.read() as conn:
        row = store.get(conn, caller, batch_job_id)
        if row is None:
            raise NotFound("Not found")
        return why(conn, caller, [row])[0]


@router.get("/{batch_job_id}", responses={200: {"model": BatchJobOut}})
def get_batch_job(server: Srv, caller: Caller, batch_job_id: BatchJobId) -> Response:
    with server.db.glance() as conn:
        row = store.get(conn, caller, batch_job_id)
    if row is None:
        raise NotFound("Not found")
    return answers.json_answer(answers.batch_job(row))


@router.put("/{batch_job_id}", responses={200: {"model": BatchJobOut}})
def change_batch_job(
    server: Srv, caller: Caller, key: OnceKey, batch_job_id: BatchJobId, body: BatchJobUpdate
) -> Response:
    with server.db.write() as tx:
        answer, _ = once(
            tx, caller, key, lambda: answers.batch_job(batch_jobs.change(tx, caller, batch_job_id, body))
        )
    return answers.json_answer(answer)


@router.post("/{batch_job_id}/submission", status_code=204)
def claim_submission(
    server: Srv, caller: Caller, batch_job_id: BatchJobId, body: SubmissionClaim
) -> Response:
    """An agent is about to submit the allocation: no agent elsewhere may do so. 409: it is another's."""
    with server.db.write() as tx:
        site_agents.claim_submission(tx, caller, batch_job_id, body.instance)
    return answers.no_content()


@router.delete("/{batch_job_id}", status_code=204)
def delete_batch_job(server: Srv, caller: Caller, batch_job_id: BatchJobId) -> Response:
    with server.db.write() as tx:
        row = store.get(tx.conn, caller, batch_job_id)
        if row is None or not store.remove(tx.conn, caller, batch_job_id):
            raise NotFound("Not found")
        tx.changed(caller.user_id, "batch_jobs", row["site_id"])
    return answers.no_content()
