"""Jobs by their tags: all of them, found through the rarest."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, func, select

from balsam.store.owner import Owner
from balsam.store.tables import job_tags

# Rows of each tag that are counted to tell the rarest: at first, and at most, ten times as many each time.
FIRST_COUNT, LAST_COUNT = 2_000, 200_000


def with_tags(owner: Owner, job_id: ColumnElement[int], tags: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """One condition for each tag: jobs are found by the first and looked up for the others.

    Left to itself either engine may go through a million jobs of a common tag. See `rarest_first`.
    """
    conditions: list[ColumnElement[bool]] = []
    for key, value in tags.items():
        if not conditions:
            conditions.append(job_id.in_(select(job_tags.c.job_id).where(*_is(owner, key, value))))
        else:
            conditions.append(_has(owner, job_id, key, value))
    return conditions


def has_tags(owner: Owner, job_id: ColumnElement[int], tags: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """One condition for each tag: a job that is found otherwise is looked up for all of them."""
    return [_has(owner, job_id, key, value) for key, value in tags.items()]


def _has(owner: Owner, job_id: ColumnElement[int], key: str, value: str) -> ColumnElement[bool]:
    """One lookup in the primary key, as a scalar subquery is; EXISTS may become a join."""
    other = job_tags.alias()
    one = select(other.c.job_id).where(
        other.c.owner_id == owner.user_id,
        other.c.key == key,
        other.c.value == value,
        other.c.job_id == job_id,
    )
    return one.limit(1).scalar_subquery().is_not(None)


def rarest_first(conn: Connection, owner: Owner, tags: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The same tags, the one that fewest jobs have first."""
    if tags is None or len(tags) < 2:
        return tags
    limit = FIRST_COUNT
    while True:
        counts = {tag: _count(conn, owner, *tag, limit) for tag in tags.items()}
        rarest = min(counts, key=counts.__getitem__)
        if counts[rarest] < limit or limit >= LAST_COUNT:
            return dict([rarest, *(tag for tag in tags.items() if tag != rarest)])
        limit *= 10


def job_ids(conn: Connection, owner: Owner, tags: Mapping[str, str], limit: int) -> list[int]:
    """Some of the jobs that have all of these tags, of which there is one at least; all if they are fewer."""
    (key, value), *others = (rarest_first(conn, owner, tags) or tags).items()
    conditions = [_has(owner, job_tags.c.job_id, *other) for other in others]
    stmt = select(job_tags.c.job_id).where(*_is(owner, key, value), *conditions).limit(limit)
    return list(conn.execute(stmt).scalars())


def _count(conn: Connection, owner: Owner, key: str, value: str, limit: int) -> int:
    some = select(job_tags.c.job_id).where(*_is(owner, key, value)).limit(limit).subquery()
    return conn.execute(select(func.count()).select_from(some)).scalar_one()


def count_of_all(conn: Connection, owner: Owner, tags: Mapping[str, str]) -> int:
    """How many of the owner's jobs have all of these tags, of which there is one at least; asks no job."""
    (key, value), *others = (rarest_first(conn, owner, tags) or tags).items()
    conditions = [_has(owner, job_tags.c.job_id, *other) for other in others]
    stmt = select(func.count()).select_from(job_tags).where(*_is(owner, key, value), *conditions)
    return conn.execute(stmt).scalar_one()


def _is(owner: Owner, key: str, value: str) -> tuple[ColumnElement[bool], ...]:
    return (job_tags.c.owner_id == owner.user_id, job_tags.c.key == key, job_tags.c.value == value)
