"""Pages and counts of events, with a million jobs and ten million events behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, select

from balsam.store.bulk import read_dicts
from balsam.store.events import EventFilter, is_rare, where
from balsam.store.owner import Owner
from balsam.store.paging import Page, counted, paged
from balsam.store.tables import events
from balsam.store.tags import has_tags, job_ids, rarest_first


@dataclass(frozen=True, slots=True)
class Effort:
    """When to change the way: between them all answer the same.

    `few_jobs`: whose ids are given to the statement itself. `walk`, `walk_for_each`: events that are looked
    through for those of a common tag, at least and for each that is asked for.
    """

    few_jobs: int = 20_000
    walk: int = 20_000
    walk_for_each: int = 20


EFFORT = Effort()

Rows = TypeVar("Rows", bound=Sized)
Read = Callable[[Connection, Select[Any]], Rows]


def page(
    conn: Connection, owner: Owner, f: EventFilter, p: Page, effort: Effort = EFFORT
) -> list[dict[str, Any]]:
    """One page in the order of time, or of the ids."""
    return page_by(read_dicts, conn, owner, f, p, effort)


def page_by(
    read: Read[Rows], conn: Connection, owner: Owner, f: EventFilter, p: Page, effort: Effort = EFFORT
) -> Rows:
    """The same, read in another way."""
    if f.tags and not _is_narrow(f):
        return _tagged(read, conn, owner, f, f.tags, p, effort)
    if f.site_id is not None and (f.from_state or f.to_state) and not is_rare(f):
        near = _among_the_next(read, conn, owner, f, p, effort)
        if len(near) == p.limit:
            return near
    chosen = where(owner, replace(f, tags=rarest_first(conn, owner, f.tags)))
    return read(conn, paged(select(events).where(*chosen), p, events.c[p.column], events.c.id))


def _tagged(
    read: Read[Rows],
    conn: Connection,
    owner: Owner,
    f: EventFilter,
    tags: Mapping[str, str],
    p: Page,
    effort: Effort,
) -> Rows:
    # No planner knows where in time the jobs of a tag lie: it may take them to lie evenly, and look for those
    # of the year before last among everything since.
    jobs = job_ids(conn, owner, tags, effort.few_jobs + 1)
    if len(jobs) <= effort.few_jobs:
        return _of_jobs(read, conn, where(owner, replace(f, tags=None, job_id=jobs)), p)
    near = _among_the_next(read, conn, owner, f, p, effort)
    if len(near) == p.limit:
        return near
    return _of_jobs(read, conn, where(owner, replace(f, tags=rarest_first(conn, owner, tags))), p)


def count(
    conn: Connection, owner: Owner, f: EventFilter, limit: int | None = None, effort: Effort = EFFORT
) -> int:
    """How many are chosen; more than `limit` are counted as one more than that."""
    if f.tags and not _is_narrow(f):
        tagged = job_ids(conn, owner, f.tags, effort.few_jobs + 1)
        if len(tagged) <= effort.few_jobs:
            f = replace(f, tags=None, job_id=tagged)
    chosen = where(owner, replace(f, tags=rarest_first(conn, owner, f.tags)))
    return counted(conn, select(events.c.id).where(*chosen), limit)


def _is_narrow(f: EventFilter) -> bool:
    return any(choice is not None for choice in (f.id, f.job_id, f.batch_job_id, f.scheduler_id))


def _of_jobs(read: Read[Rows], conn: Connection, chosen: list[ColumnElement[bool]], p: Page) -> Rows:
    """All that the chosen jobs have, then sorted: an expression is what no index gives the order of."""
    column = events.c[p.column] + 0
    return read(conn, paged(select(events).where(*chosen), p, column, events.c.id))


def _among_the_next(
    read: Read[Rows], conn: Connection, owner: Owner, f: EventFilter, p: Page, effort: Effort
) -> Rows:
    """The page, or its beginning, as far as it is found near where it begins.

    Events of the sites and the time are gone through by an index, and looked at for what else is asked.
    """
    index = f if is_rare(f) else replace(f, from_state=None, to_state=None)
    walk = replace(p, limit=max(effort.walk, effort.walk_for_each * (p.limit + p.offset)), offset=0)
    columns = [events.c[name] for name in ("id", "job_id", "timestamp", "from_state", "to_state")]
    stmt = select(*columns).where(*where(owner, replace(index, tags=None)))
    some = paged(stmt, walk, events.c[p.column], events.c.id).subquery()
    found = select(events).join(some, some.c.id == events.c.id)
    for states, column in ((f.from_state, some.c.from_state), (f.to_state, some.c.to_state)):
        found = found if states is None else found.where(column.in_(list(states)))
    found = found.where(*has_tags(owner, some.c.job_id, f.tags or {}))
    there = replace(p, after=None)  # it has been applied
    return read(conn, paged(found, there, some.c[p.column], some.c.id))
