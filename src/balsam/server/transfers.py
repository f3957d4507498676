"""Transfer items over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from balsam.core.errors import Invalid, NotFound
from balsam.core.limits import MAX_BULK_ITEMS_ACCEPTED, MAX_ID
from balsam.logic import transfers
from balsam.logic.once import once
from balsam.schemas.transfers import (
    PaginatedTransferItemOut,
    TransferItemBulkUpdate,
    TransferItemOut,
    TransferItemUpdate,
)
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Srv
from balsam.server.queries import TransferQuery, Transfers, TransferSelection, TransfersToChange
from balsam.server.query_strings import documented
from balsam.store import transfers as store
from balsam.store.paging import Page, next_cursor
from balsam.store.transfers import TransferFilter

router = APIRouter(prefix="/transfers", tags=["transfers"])
BulkUpdates = Annotated[list[TransferItemBulkUpdate], Body(max_length=MAX_BULK_ITEMS_ACCEPTED)]
TransferId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get(
    "/", responses={200: {"model": PaginatedTransferItemOut}}, openapi_extra=documented(TransferQuery)
)
def list_transfers(server: Srv, caller: Caller, query: Transfers) -> Response:
    page = query.page()
    with query.look(server.db) as conn:
        rows = store.page(conn, caller, query.filter(), page)
        total = store.count(conn, caller, query.filter()) if query.counted else None
    return answers.listing(rows, answers.transfer, total, next_cursor(rows, page))


@router.patch("/", responses={200: {"model": list[TransferItemOut]}})
def change_transfers(server: Srv, caller: Caller, key: OnceKey, body: BulkUpdates) -> Response:
    """All or nothing."""
    with server.db.write() as tx:
        answer, _ = once(
            tx,
            caller,
            key,
            lambda: [answers.transfer(row) for row in transfers.change_many(tx, caller, body)],
        )
    return answers.json_answer(answer)


@router.put("/", response_model=int, openapi_extra=documented(TransferSelection))
def change_matching_transfers(
    server: Srv, caller: Caller, key: OnceKey, choice: TransfersToChange, body: TransferItemUpdate
) -> Response:
    """The same change for every item that the filters choose, of which there must be one at least."""
    chosen = choice.target()

    def change() -> int:
        found = store.page(tx.conn, caller, chosen, Page())
        sent = body.model_dump(exclude_unset=True)
        updates = [TransferItemBulkUpdate(id=row["id"], **sent) for row in found]
        return len(transfers.change_many(tx, caller, updates))

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, change)
    return answers.json_answer(answer)


@router.delete("/", status_code=204, openapi_extra=documented(TransferSelection))
def delete_matching_transfers(server: Srv, caller: Caller, choice: TransfersToChange) -> Response:
    """Those that the filters choose, of which there must be one at least; jobs no longer wait for them."""
    with server.db.write() as tx:
        transfers.delete_matching(tx, caller, choice.target())
    return Response(status_code=204)


@router.get("/{transfer_id}", responses={200: {"model": TransferItemOut}})
def get_transfer(server: Srv, caller: Caller, transfer_id: TransferId) -> Response:
    with server.db.glance() as conn:
        rows = store.page(conn, caller, TransferFilter(id=[transfer_id]), Page())
    if not rows:
        raise NotFound("Not found")
    return answers.json_answer(answers.transfer(rows[0]))


@router.put("/{transfer_id}", responses={200: {"model": TransferItemOut}})
def change_transfer(
    server: Srv, caller: Caller, transfer_id: TransferId, body: TransferItemUpdate
) -> Response:
    update = TransferItemBulkUpdate(id=transfer_id, **body.model_dump(exclude_unset=True))
    with server.db.write() as tx:
        try:
            rows = transfers.change_many(tx, caller, [update])
        except Invalid:
            raise NotFound("Not found") from None
    return answers.json_answer(answers.transfer(rows[0]))
