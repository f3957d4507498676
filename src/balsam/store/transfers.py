"""Transfer items."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy import delete as sa_delete

from balsam.core.states import TransferDirection, TransferItemState
from balsam.store.bulk import among, columns_of, insert_columns
from balsam.store.owner import Owner, mine
from balsam.store.paging import Page, paged
from balsam.store.tables import jobs, transfers
from balsam.store.tags import with_tags


@dataclass(frozen=True, slots=True)
class TransferFilter:
    id: Collection[int] | None = None
    site_id: int | None = None
    job_id: Collection[int] | None = None
    state: Collection[str] | None = None
    direction: str | None = None
    job_state: str | None = None
    tags: Mapping[str, str] | None = None


def where(owner: Owner, f: TransferFilter) -> list[ColumnElement[bool]]:
    conditions = mine(transfers, owner, searched=f.id is None)
    members = [(transfers.c.id, f.id), (transfers.c.job_id, f.job_id), (transfers.c.state, f.state)]
    conditions += [column.in_(list(values)) for column, values in members if values is not None]
    if f.site_id is not None:
        conditions.append(transfers.c.site_id == f.site_id)
    if f.direction is not None:
        conditions.append(transfers.c.direction == f.direction)
    if f.job_state is not None:
        in_state = select(jobs.c.id).where(jobs.c.owner_id == owner.user_id, jobs.c.state == f.job_state)
        conditions.append(transfers.c.job_id.in_(in_state))
    conditions += with_tags(owner, transfers.c.job_id, f.tags or {})
    return conditions


def page(conn: Connection, owner: Owner, f: TransferFilter, p: Page) -> list[dict[str, Any]]:
    stmt = paged(select(transfers).where(*where(owner, f)), p, transfers.c[p.column], transfers.c.id)
    return [dict(row) for row in conn.execute(stmt).mappings()]


def count(conn: Connection, owner: Owner, f: TransferFilter) -> int:
    return conn.execute(select(func.count()).select_from(transfers).where(*where(owner, f))).scalar_one()


def insert_many(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        insert_columns(conn, transfers, columns_of(rows, rows[0]))


def jobs_of(conn: Connection, owner: Owner, item_ids: Collection[int]) -> set[int]:
    """The jobs that these items belong to."""
    stmt = select(transfers.c.job_id).where(*mine(transfers, owner), among(transfers.c.id, item_ids))
    return set(conn.execute(stmt).scalars())


def change(conn: Connection, owner: Owner, item_id: int, values: dict[str, Any]) -> dict[str, Any] | None:
    stmt = update(transfers).where(*mine(transfers, owner), transfers.c.id == item_id).values(**values)
    row = conn.execute(stmt.returning(transfers)).mappings().first()
    return dict(row) if row else None


def delete(conn: Connection, owner: Owner, item_ids: Collection[int]) -> None:
    conn.execute(sa_delete(transfers).where(*mine(transfers, owner), among(transfers.c.id, item_ids)))


def activate(conn: Connection, owner: Owner, job_ids: Collection[int], direction: str) -> None:
    """Items that waited for their jobs may be transferred now."""
    stmt = update(transfers).where(
        transfers.c.owner_id == owner.user_id,
        among(transfers.c.job_id, job_ids),
        transfers.c.direction == direction,
        transfers.c.state == TransferItemState.awaiting_job,
    )
    conn.execute(stmt.values(state=TransferItemState.pending))


def rewind(conn: Connection, owner: Owner, job_ids: Collection[int]) -> None:
    """A new run makes new output: what was staged out before is to be staged out again."""
    stmt = update(transfers).where(
        transfers.c.owner_id == owner.user_id,
        among(transfers.c.job_id, job_ids),
        transfers.c.direction == TransferDirection.stage_out,
        transfers.c.state != TransferItemState.awaiting_job,
    )
    conn.execute(stmt.values(state=TransferItemState.awaiting_job))
