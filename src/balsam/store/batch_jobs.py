"""BatchJobs: allocations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from balsam.store.bulk import among, dicts
from balsam.store.owner import Owner, mine
from balsam.store.paging import Page, paged
from balsam.store.tables import batch_job_tags, batch_jobs


@dataclass(frozen=True, slots=True)
class BatchJobFilter:
    id: Collection[int] | None = None
    site_id: Collection[int] | None = None
    state: Collection[str] | None = None
    scheduler_id: int | None = None
    queue: str | None = None
    cause: str | None = None  # or the beginning of one: "node failure" of "node failure: nid0008"
    start_time_before: int | None = None
    start_time_after: int | None = None
    end_time_before: int | None = None
    end_time_after: int | None = None
    filter_tags: Mapping[str, str] | None = None


def where(owner: Owner, f: BatchJobFilter) -> list[ColumnElement[bool]]:
    conditions = mine(batch_jobs, owner, searched=f.id is None)
    members = [(batch_jobs.c.id, f.id), (batch_jobs.c.site_id, f.site_id), (batch_jobs.c.state, f.state)]
    conditions += [column.in_(list(values)) for column, values in members if values is not None]
    if f.scheduler_id is not None:
        conditions.append(batch_jobs.c.scheduler_id == f.scheduler_id)
    if f.queue is not None:
        conditions.append(batch_jobs.c.queue == f.queue)
    if f.cause is not None:
        conditions.append(batch_jobs.c.cause.startswith(f.cause, autoescape=True))
    for column, before, after in (
        (batch_jobs.c.start_time, f.start_time_before, f.start_time_after),
        (batch_jobs.c.end_time, f.end_time_before, f.end_time_after),
    ):
        if before is not None:
            conditions.append(column <= before)
        if after is not None:
            conditions.append(column >= after)
    conditions += [_with_tag(owner, key, value) for key, value in (f.filter_tags or {}).items()]
    return conditions


def _with_tag(owner: Owner, key: str, value: str) -> ColumnElement[bool]:
    return batch_jobs.c.id.in_(
        select(batch_job_tags.c.batch_job_id).where(
            batch_job_tags.c.owner_id == owner.user_id,
            batch_job_tags.c.key == key,
            batch_job_tags.c.value == value,
        )
    )


def page(conn: Connection, owner: Owner, f: BatchJobFilter, p: Page) -> list[dict[str, Any]]:
    # An allocation that has not started stands before all others; a key can't be compared with NULL.
    column = batch_jobs.c.id if p.column == "id" else func.coalesce(batch_jobs.c[p.column], 0)
    stmt = paged(select(batch_jobs).where(*where(owner, f)), p, column, batch_jobs.c.id)
    return [dict(row) for row in conn.execute(stmt).mappings()]


def count(conn: Connection, owner: Owner, f: BatchJobFilter) -> int:
    return conn.execute(select(func.count()).select_from(batch_jobs).where(*where(owner, f))).scalar_one()


def ids(conn: Connection, owner: Owner, f: BatchJobFilter) -> list[int]:
    """Of all that are chosen, ascending."""
    return list(
        conn.execute(select(batch_jobs.c.id).where(*where(owner, f)).order_by(batch_jobs.c.id)).scalars()
    )


def get(conn: Connection, owner: Owner, batch_job_id: int) -> dict[str, Any] | None:
    row = conn.execute(select(batch_jobs).where(*mine(batch_jobs, owner), batch_jobs.c.id == batch_job_id))
    found = row.mappings().first()
    return dict(found) if found else None


def lock(conn: Connection, owner: Owner, wanted: Collection[int]) -> list[dict[str, Any]]:
    """Those of the allocations that exist; until the transaction ends nobody else changes them."""
    stmt = select(batch_jobs).where(*mine(batch_jobs, owner), among(batch_jobs.c.id, wanted))
    return dicts(conn.execute(stmt.order_by(batch_jobs.c.id).with_for_update()))


def existing_ids(conn: Connection, owner: Owner, wanted: Collection[int | None]) -> set[int | None]:
    stmt = select(batch_jobs.c.id).where(*mine(batch_jobs, owner), batch_jobs.c.id.in_(list(wanted)))
    return set(conn.execute(stmt).scalars().all())


def create(conn: Connection, owner: Owner, values: dict[str, Any]) -> dict[str, Any]:
    stmt = insert(batch_jobs).values(owner_id=owner.user_id, **values).returning(batch_jobs)
    row = dict(conn.execute(stmt).mappings().one())
    tags = [
        {"owner_id": owner.user_id, "key": key, "value": value, "batch_job_id": row["id"]}
        for key, value in values["filter_tags"].items()
    ]
    if tags:
        conn.execute(insert(batch_job_tags), tags)
    return row


def change(conn: Connection, owner: Owner, batch_job_id: int, values: dict[str, Any]) -> dict[str, Any]:
    stmt = update(batch_jobs).where(*mine(batch_jobs, owner), batch_jobs.c.id == batch_job_id)
    return dict(conn.execute(stmt.values(**values).returning(batch_jobs)).mappings().one())


def remove(conn: Connection, owner: Owner, batch_job_id: int) -> bool:
    stmt = delete(batch_jobs).where(*mine(batch_jobs, owner), batch_jobs.c.id == batch_job_id)
    return conn.execute(stmt).rowcount == 1
