"""The event log: appended to, never changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    literal,
    or_,
    select,
    text,
    tuple_,
    union_all,
)

from balsam.core.limits import MAX_ID
from balsam.core.states import JobState
from balsam.store import ids
from balsam.store.bulk import among, condition, dicts, insert_columns
from balsam.store.owner import Owner, checked, mine
from balsam.store.tables import RARE_MOVES, batch_jobs, events, runs
from balsam.store.tags import has_tags, with_tags

MAX_DIGITS = 19
# States that so many events leave that no index on them would choose: the complement of `RARE_MOVES`.
COMMON_STATES = frozenset(
    {
        JobState.created,
        JobState.staged_in,
        JobState.preprocessed,
        JobState.running,
        JobState.run_done,
        JobState.postprocessed,
    }
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """None filters nothing; collections mean any of, `tags` (of the job) and `data` mean all of.

    `until`: only what a stream that stands there has behind it.
    """

    id: Collection[int] | None = None
    job_id: Collection[int] | None = None
    batch_job_id: Collection[int] | None = None
    scheduler_id: int | None = None
    tags: Mapping[str, str] | None = None
    data: Mapping[str, str] | None = None
    timestamp_before: int | None = None
    timestamp_after: int | None = None
    from_state: Collection[str] | None = None
    to_state: Collection[str] | None = None
    site_id: Collection[int] | None = None
    until: Position | None = None


def where(owner: Owner, f: EventFilter) -> list[ColumnElement[bool]]:
    """The filter as SQL conditions on `events`."""
    site = None if f.site_id is None or is_rare(f) else f.site_id
    narrow = (f.id, f.job_id, f.batch_job_id, f.scheduler_id, f.tags or None, site)
    conditions = mine(events, owner, searched=all(choice is None for choice in narrow))
    members = [
        (events.c.from_state, f.from_state),
        (events.c.to_state, f.to_state),
        (events.c.site_id, f.site_id),
    ]
    conditions += [column.in_(list(values)) for column, values in members if values is not None]
    if f.from_state is not None and not COMMON_STATES & set(f.from_state):
        conditions.append(condition(RARE_MOVES))
    for column, ids_ in ((events.c.id, f.id), (events.c.job_id, f.job_id)):
        if ids_ is not None:
            conditions.append(among(column, ids_))
    if f.batch_job_id is not None:
        conditions.append(in_batch_jobs(list(f.batch_job_id)))
    if f.scheduler_id is not None:
        conditions.append(in_batch_jobs(with_scheduler_id(owner, f.scheduler_id)))
    if f.timestamp_before is not None:
        conditions.append(events.c.timestamp <= f.timestamp_before)
    if f.timestamp_after is not None:
        conditions.append(events.c.timestamp >= f.timestamp_after)
    if f.until is not None:
        conditions.append(_behind(f.until))
    conditions += with_tags(owner, events.c.job_id, f.tags or {})
    return conditions + _with_data(f)


def _behind(position: Position) -> ColumnElement[bool]:
    if position.xid == 0:  # SQLite's
        return checked(events.c.id) <= position.id
    behind = tuple_(events.c.xid, events.c.id) <= tuple_(literal(position.xid), literal(position.id))
    return or_(events.c.xid.is_(None), behind)


def _with_data(f: EventFilter) -> list[ColumnElement[bool]]:
    return [events.c.data[key].as_string() == value for key, value in (f.data or {}).items()]


def is_rare(f: EventFilter) -> bool:
    """Whether only states are chosen that few events have."""
    common = COMMON_STATES | {JobState.job_finished}
    return any(states is not None and not common & set(states) for states in (f.from_state, f.to_state))


def _passing(owner: Owner, f: EventFilter) -> list[ColumnElement[bool]]:
    """The filter for who goes through the owner's events as they come, and looks at each.

    Only events that happened in a BatchJob belong to it here: which one a job will first run in nobody knows.
    """
    conditions = mine(events, owner, searched=True)
    members = [
        (events.c.id, f.id),
        (events.c.job_id, f.job_id),
        (events.c.site_id, f.site_id),
        (events.c.batch_job_id, f.batch_job_id),
        (events.c.from_state, f.from_state),
        (events.c.to_state, f.to_state),
    ]
    conditions += [checked(column).in_(list(values)) for column, values in members if values is not None]
    if f.scheduler_id is not None:
        conditions.append(checked(events.c.batch_job_id).in_(with_scheduler_id(owner, f.scheduler_id)))
    if f.timestamp_before is not None:
        conditions.append(checked(events.c.timestamp) <= f.timestamp_before)
    if f.timestamp_after is not None:
        conditions.append(checked(events.c.timestamp) >= f.timestamp_after)
    conditions += has_tags(owner, events.c.job_id, f.tags or {})
    return conditions + _with_data(f)


def with_scheduler_id(owner: Owner, scheduler_id: int) -> Select[tuple[int]]:
    return select(batch_jobs.c.id).where(
        batch_jobs.c.owner_id == owner.user_id, batch_jobs.c.scheduler_id == scheduler_id
    )


def in_batch_jobs(wanted: list[int] | Select[tuple[int]]) -> ColumnElement[bool]:
    """Events of these BatchJobs, and those before the first run of the jobs that they first ran.

    Two branches, each with an index of its own: an OR of the two would go through all events.
    """
    inside, before = events.alias("inside"), events.alias("before")
    first_ran = select(runs.c.job_id).where(runs.c.batch_job_id.in_(wanted), runs.c.attempt == 1)
    return events.c.id.in_(
        union_all(
            select(inside.c.id).where(inside.c.batch_job_id.in_(wanted)),
            select(before.c.id).where(
                checked(before.c.batch_job_id).is_(None), before.c.job_id.in_(first_ran)
            ),
        )
    )


_INSERTED = (
    "owner_id",
    "site_id",
    "job_id",
    "batch_job_id",
    "timestamp",
    "received",
    "entered",
    "from_state",
    "to_state",
    "data",
)


def insert_many(conn: Connection, rows: Sequence[tuple[Any, ...]], event_ids: Sequence[int]) -> None:
    """Rows are (owner, site, job, BatchJob, timestamp, received, entered, from_state, to_state, data).

    The ids are given, so that the runs that the events start and end can name them.
    """
    if rows:
        columns = dict(zip(_INSERTED, zip(*rows, strict=True), strict=True))
        insert_columns(conn, events, {"id": event_ids, **columns})


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a stream stands: behind all events up to this one, in the order in which it delivers them.

    On PostgreSQL that is (transaction, id), below the oldest transaction that is still open: whatever commits
    late is yet to come. On SQLite one writer makes ids rise in the order of commits, and `xid` is 0.
    """

    xid: int
    id: int

    @classmethod
    def parse(cls, text: str) -> Position | None:
        xid, _, row_id = text.partition(".")
        numbers = [int(part) for part in (xid, row_id) if part.isdecimal() and len(part) <= MAX_DIGITS]
        return cls(*numbers) if len(numbers) == 2 else None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Position:
        """Behind an event that a stream has delivered."""
        return cls(row["xid"] or 0, row["id"])

    def __str__(self) -> str:
        return f"{self.xid}.{self.id}"


def head(conn: Connection) -> Position:
    """Behind everything that has been committed and that nothing older can still precede."""
    if conn.dialect.name == "sqlite":
        # Also the id of an event that has been deleted since, so that a cursor never lies ahead.
        return Position(0, ids.newest(conn, events))
    return Position(_oldest_open(conn) - 1, MAX_ID)


def _oldest_open(conn: Connection) -> int:
    """The oldest transaction that was open when this one took its snapshot."""
    stmt = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return int(conn.execute(stmt).scalar_one())


@dataclass(frozen=True, slots=True)
class Following:
    """Events behind a position, oldest first; `held_back`: more are committed but may not be told yet."""

    rows: list[dict[str, Any]]
    position: Position
    held_back: bool


def after(conn: Connection, owner: Owner, position: Position, f: EventFilter, limit: int) -> Following:
    """The next chosen events, and the position behind all that was looked at, chosen or not.

    `conn` reads one snapshot: that of `Database.read`.
    """
    if conn.dialect.name == "sqlite":
        return _after_by_id(conn, owner, position, f, limit)
    return _after_by_transaction(conn, owner, position, f, limit)


def _after_by_id(conn: Connection, owner: Owner, position: Position, f: EventFilter, limit: int) -> Following:
    stmt = select(events).where(*_passing(owner, f), events.c.id > position.id).order_by(events.c.id)
    rows = dicts(conn.execute(stmt.limit(limit)))
    return Following(rows, Position(0, rows[-1]["id"]) if len(rows) == limit else head(conn), False)


def _after_by_transaction(
    conn: Connection, owner: Owner, position: Position, f: EventFilter, limit: int
) -> Following:
    oldest_open = _oldest_open(conn)
    behind = tuple_(events.c.xid, events.c.id) > tuple_(literal(position.xid), literal(position.id))
    settled = (
        select(events)
        .where(*_passing(owner, f), behind, events.c.xid < oldest_open)
        .order_by(events.c.xid, events.c.id)
        .limit(limit)
    )
    rows = dicts(conn.execute(settled))
    if len(rows) == limit:
        return Following(rows, Position.of(rows[-1]), False)
    unsettled = select(events.c.id).where(*mine(events, owner, searched=True), events.c.xid >= oldest_open)
    held_back = conn.execute(unsettled.limit(1)).first() is not None
    return Following(rows, max(position, Position(oldest_open - 1, MAX_ID)), held_back)
