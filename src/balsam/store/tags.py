"""Jobs by their tags: all of them, found through the rarest."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, func, select

from balsam.store.owner import Owner
from balsam.store.tables import job_tags

# Rows of a tag that are counted to tell how rare it is: more than these are many.
ENOUGH = 2_000


def with_tags(owner: Owner, job_id: ColumnElement[int], tags: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """One condition for each tag: jobs are found by the first and looked up for the others.

    Left to itself either engine may go through a million jobs of a common tag. See `rarest_first`.
    """
    conditions: list[ColumnElement[bool]] = []
    for key, value in tags.items():
        tagged = select(job_tags.c.job_id).where(*_is(owner, key, value))
        if not conditions:
            conditions.append(job_id.in_(tagged))
        else:
            # A scalar subquery is one lookup in the primary key; EXISTS may become a join.
            one = tagged.where(job_tags.c.job_id == job_id).limit(1).scalar_subquery()
            conditions.append(one.is_not(None))
    return conditions


def rarest_first(conn: Connection, owner: Owner, tags: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The same tags, the one that fewest jobs have first."""
    if tags is None or len(tags) < 2:
        return tags
    return dict(sorted(tags.items(), key=lambda tag: _count(conn, owner, *tag)))


def _count(conn: Connection, owner: Owner, key: str, value: str) -> int:
    some = select(job_tags.c.job_id).where(*_is(owner, key, value)).limit(ENOUGH).subquery()
    return conn.execute(select(func.count()).select_from(some)).scalar_one()


def _is(owner: Owner, key: str, value: str) -> tuple[ColumnElement[bool], ...]:
    return (job_tags.c.owner_id == owner.user_id, job_tags.c.key == key, job_tags.c.value == value)
