"""Jobs: filters, pages, inserts, acquiring and releasing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from balsam.core.states import DONE_STATES, JobState, ParentsMust, TransferDirection, TransferItemState
from balsam.store.bulk import (
    ROWS_PER_BLOCK,
    Columns,
    among,
    columns_of,
    condition,
    dicts,
    insert_blocks,
    insert_columns,
    read_dicts,
    update_columns,
)
from balsam.store.owner import Owner, checked, mine, owned
from balsam.store.paging import Page, counted, paged
from balsam.store.tables import ACQUIRABLE, apps, events, job_parents, job_tags, jobs, runs, transfers
from balsam.store.tags import count_of_all, rarest_first, with_tags

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """None filters nothing; collections mean any of, tags mean all of."""

    id: Collection[int] | None = None
    parent_id: Collection[int] | None = None
    app_id: Collection[int] | None = None
    site_id: Collection[int] | None = None
    batch_job_id: Collection[int] | None = None
    session_id: Collection[int] | None = None
    last_update_before: int | None = None
    last_update_after: int | None = None
    workdir__contains: str | None = None
    state__ne: JobState | None = None
    state: Collection[JobState] | None = None
    tags: Mapping[str, str] | None = None
    pending_file_cleanup: bool | None = None
    failure: str | None = None  # jobs with a run that ended in an error of this signature


def where(owner: Owner, f: JobFilter) -> list[ColumnElement[bool]]:
    """The filter as SQL conditions on `jobs`."""
    narrow = (f.id, f.parent_id, f.app_id, f.batch_job_id, f.session_id, f.tags or None, f.failure)
    conditions = mine(jobs, owner, searched=all(choice is None for choice in narrow))
    members = [
        (jobs.c.app_id, f.app_id),
        (jobs.c.site_id, f.site_id),
        (jobs.c.batch_job_id, f.batch_job_id),
        (jobs.c.session_id, f.session_id),
        (jobs.c.state, f.state),
    ]
    conditions += [column.in_(list(values)) for column, values in members if values is not None]
    if f.id is not None:
        conditions.append(among(jobs.c.id, f.id))
    if f.parent_id is not None:
        children = select(job_parents.c.job_id).where(among(job_parents.c.parent_id, f.parent_id))
        conditions.append(jobs.c.id.in_(children))
    if f.last_update_before is not None:
        conditions.append(jobs.c.last_update <= f.last_update_before)
    if f.last_update_after is not None:
        conditions.append(jobs.c.last_update >= f.last_update_after)
    if f.workdir__contains is not None:
        conditions.append(jobs.c.workdir.contains(f.workdir__contains, autoescape=True))
    if f.state__ne is not None:
        conditions.append(jobs.c.state != f.state__ne)
    if f.pending_file_cleanup is not None:
        conditions.append(jobs.c.pending_file_cleanup == f.pending_file_cleanup)
    if f.failure is not None:
        failed = [runs.c.end_state == JobState.run_error, runs.c.signature == f.failure]
        conditions.append(
            jobs.c.id.in_(select(runs.c.job_id).where(*mine(runs, owner, searched=True), *failed))
        )
    conditions += with_tags(owner, jobs.c.id, f.tags or {})
    return conditions


def chosen(conn: Connection, owner: Owner, f: JobFilter) -> list[ColumnElement[bool]]:
    """`where`, in the order in which it is answered fastest."""
    return where(owner, replace(f, tags=rarest_first(conn, owner, f.tags)))


def page(conn: Connection, owner: Owner, f: JobFilter, p: Page) -> list[dict[str, Any]]:
    return page_by(read_dicts, conn, owner, f, p)


def page_by(
    read: Callable[[Connection, Select[Any]], T], conn: Connection, owner: Owner, f: JobFilter, p: Page
) -> T:
    """One page, read in another way."""
    conditions = chosen(conn, owner, f)
    if f.site_id is None or p.column != "id":
        return read(conn, paged(select(jobs).where(*conditions), p, jobs.c[p.column], jobs.c.id))
    # PostgreSQL takes a site's jobs to lie evenly among all, and would look for the newest of a site that has
    # been quiet for a year among everything since; ids alone it reads from the index of the site.
    ids = paged(select(jobs.c.id).where(*conditions), p, jobs.c.id, jobs.c.id).subquery()
    stmt = select(jobs).join(ids, ids.c.id == jobs.c.id)
    return read(conn, stmt.order_by(jobs.c.id.desc() if p.descending else jobs.c.id))


def count(conn: Connection, owner: Owner, f: JobFilter, limit: int | None = None) -> int:
    """How many are chosen; more than `limit` are counted as one more than that."""
    if limit is None and f.tags and owner.site_id is None and f == JobFilter(tags=f.tags):
        return count_of_all(conn, owner, f.tags)
    return counted(conn, select(jobs.c.id).where(*chosen(conn, owner, f)), limit)


def lock_matching(conn: Connection, owner: Owner, f: JobFilter) -> list[int]:
    """The ids of the chosen; until the transaction ends they stay as they were chosen."""
    stmt = (
        select(jobs.c.id).where(*chosen(conn, owner, f)).order_by(jobs.c.id).with_for_update(key_share=True)
    )
    return list(conn.execute(stmt).scalars())


def count_by_state(conn: Connection, owner: Owner, f: JobFilter) -> dict[str, int]:
    stmt = select(jobs.c.state, func.count()).where(*chosen(conn, owner, f)).group_by(jobs.c.state)
    return dict(conn.execute(stmt).all())


def by_ids(conn: Connection, owner: Owner, wanted: Collection[int]) -> list[dict[str, Any]]:
    """Whole rows in id order; ids that are nobody's or somebody else's are left out."""
    stmt = select(jobs).where(*mine(jobs, owner), among(jobs.c.id, wanted)).order_by(jobs.c.id)
    return dicts(conn.execute(stmt))


def existing_ids(conn: Connection, owner: Owner, wanted: Collection[int]) -> set[int]:
    stmt = select(jobs.c.id).where(*mine(jobs, owner), among(jobs.c.id, wanted))
    return set(conn.execute(stmt).scalars().all())


# What a change of state needs to know of a job, joined with its app's hooks.
_VIEW: list[Column[Any]] = [
    jobs.c.id,
    jobs.c.owner_id,
    jobs.c.site_id,
    jobs.c.app_id,
    jobs.c.session_id,
    jobs.c.batch_job_id,
    jobs.c.state,
    jobs.c.state_since,
    jobs.c.num_runs,
    jobs.c.max_restarts,
    jobs.c.num_nodes,
    jobs.c.node_packing_count,
    jobs.c.parents_must,
    jobs.c.killed_by,
    jobs.c.launcher_deaths,
]


def lock(conn: Connection, owner: Owner, wanted: Collection[int]) -> list[dict[str, Any]]:
    """The jobs' states with their apps' hooks and versions, locked in id order until the transaction ends."""
    stmt = (
        select(*_VIEW)
        .where(*mine(jobs, owner), among(jobs.c.id, wanted))
        .order_by(jobs.c.id)
        .with_for_update(key_share=True)
    )
    rows = dicts(conn.execute(stmt))
    apps_of = _apps(conn, owner, {row["app_id"] for row in rows})
    for row in rows:
        row["hooks"], row["newest_version"] = apps_of[row["app_id"]]
    return rows


def _apps(
    conn: Connection, owner: Owner, app_ids: Collection[int]
) -> dict[int, tuple[frozenset[str] | None, int]]:
    """Hooks and version by app."""
    stmt = select(apps.c.id, apps.c.hooks, apps.c.version).where(
        *mine(apps, owner.everywhere), among(apps.c.id, app_ids)
    )
    return {
        app_id: (None if hooks is None else frozenset(hooks), version)
        for app_id, hooks, version in conn.execute(stmt).all()
    }


def insert_many(conn: Connection, new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Jobs with their tags and parents; the rows carry ids and the owner, and have all other fields.

    Takes the rows as they come, and returns them.
    """
    rows: list[dict[str, Any]] = []
    insert_blocks(conn, jobs, jobs.columns.keys(), _blocks(new, rows))
    tags = [(row["owner_id"], key, value, row["id"]) for row in rows for key, value in row["tags"].items()]
    _insert_tags(conn, tags)
    parents = [(parent, row["id"]) for row in rows for parent in row["parent_ids"]]
    if parents:
        insert_columns(
            conn, job_parents, dict(zip(("parent_id", "job_id"), zip(*parents, strict=True), strict=True))
        )
    return rows


def _blocks(new: Iterable[dict[str, Any]], taken: list[dict[str, Any]]) -> Iterator[Columns]:
    rest = iter(new)
    while some := list(islice(rest, ROWS_PER_BLOCK)):
        taken += some
        yield columns_of(some, jobs.columns.keys())


def _insert_tags(conn: Connection, tags: Sequence[tuple[Any, ...]]) -> None:
    """(owner, key, value, job) each."""
    if tags:
        names = ("owner_id", "key", "value", "job_id")
        insert_columns(conn, job_tags, dict(zip(names, zip(*tags, strict=True), strict=True)))


def change_many(conn: Connection, owner: Owner, changes: Sequence[dict[str, Any]]) -> None:
    """Each change names its job's `id`; changes with the same fields go in one bulk statement."""
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for change in changes:
        groups.setdefault(frozenset(change), []).append(change)
    for fields, group in groups.items():
        update_columns(conn, jobs, columns_of(group, fields), key="id", match=owned(owner))


def set_tags(conn: Connection, owner: Owner, tags_of: Mapping[int, Mapping[str, str]]) -> None:
    """Replaces the searchable copies of these jobs' tags; the JSON copy goes with `change_many`."""
    conn.execute(
        delete(job_tags).where(job_tags.c.owner_id == owner.user_id, among(job_tags.c.job_id, tags_of))
    )
    rows = [
        (owner.user_id, key, value, job_id) for job_id, tags in tags_of.items() for key, value in tags.items()
    ]
    _insert_tags(conn, rows)


def remove(conn: Connection, owner: Owner, wanted: Collection[int]) -> int:
    """Deletes jobs with all that is kept of them."""
    ours = conn.execute(
        select(jobs.c.id)
        .where(*mine(jobs, owner), among(jobs.c.id, wanted))
        .order_by(jobs.c.id)
        .with_for_update()
    )
    found = list(ours.scalars())
    for table in (events, runs, transfers, job_tags, job_parents):
        conn.execute(delete(table).where(among(table.c.job_id, found)))
    conn.execute(delete(jobs).where(*mine(jobs, owner), among(jobs.c.id, found)))
    return len(found)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a session asks for."""

    site_id: int
    states: Collection[JobState]
    max_num_jobs: int
    max_wall_time_min: float | None = None
    max_nodes_per_job: int | None = None
    gpus_per_node: float | None = None
    mem_mb_per_node: int | None = None
    max_aggregate_nodes: float | None = None
    serial_only: bool = False
    long_large_first: bool = False
    tags: Mapping[str, str] | None = None
    app_ids: Collection[int] | None = None


# As published: small jobs first, and of these the long ones.
_ACQUIRE_ORDER = (
    jobs.c.priority.desc(),
    jobs.c.num_nodes,
    jobs.c.node_packing_count.desc(),
    jobs.c.wall_time_min.desc(),
    jobs.c.id,
)
_LONG_LARGE_FIRST = (
    jobs.c.priority.desc(),
    jobs.c.wall_time_min.desc(),
    jobs.c.num_nodes.desc(),
    jobs.c.node_packing_count.desc(),
    jobs.c.id,
)


def acquirable(conn: Connection, owner: Owner, want: Acquisition, state: JobState) -> list[dict[str, Any]]:
    """Free jobs in one state in the order in which they are to run; locked, and skipped where others lock.

    One state a statement, so that the index gives the order and the first of a million is found at once.
    """
    stmt = _acquirable(owner, want, state).with_for_update(skip_locked=True, key_share=True)
    return dicts(conn.execute(stmt))


def await_acquirable(conn: Connection, owner: Owner, want: Acquisition, state: JobState) -> bool:
    """Whether there is such a job after all, locked by somebody who left it free; waits for who that is.

    Whoever acquires locks more jobs than it takes. One at a time, so that who waits here holds up nobody.
    """
    if conn.dialect.name == "sqlite":  # nobody else writes
        return False
    stmt = _acquirable(owner, want, state).limit(1).with_for_update(key_share=True)
    return conn.execute(stmt).first() is not None


def _acquirable(owner: Owner, want: Acquisition, state: JobState) -> Select[Any]:
    conditions = [*mine(jobs, owner), jobs.c.site_id == want.site_id, jobs.c.session_id.is_(None)]
    conditions += [jobs.c.state == state, condition(ACQUIRABLE)]
    if want.max_aggregate_nodes is not None:
        weight = case((jobs.c.num_nodes > 1, jobs.c.num_nodes), else_=1.0 / jobs.c.node_packing_count)
        conditions.append(weight <= want.max_aggregate_nodes + 1e-9)
    if want.max_wall_time_min is not None:
        conditions.append(jobs.c.wall_time_min <= want.max_wall_time_min)
    if want.max_nodes_per_job is not None:
        conditions.append(jobs.c.num_nodes <= want.max_nodes_per_job)
    if want.gpus_per_node is not None:
        conditions.append(jobs.c.ranks_per_node * jobs.c.gpus_per_rank <= want.gpus_per_node + 1e-9)
    if want.mem_mb_per_node is not None:
        conditions.append(jobs.c.ranks_per_node * jobs.c.mem_mb_per_rank <= want.mem_mb_per_node)
    if want.serial_only:
        conditions += [jobs.c.num_nodes <= 1, jobs.c.ranks_per_node == 1]
    if want.app_ids:
        conditions.append(jobs.c.app_id.in_(want.app_ids))
    conditions += with_tags(owner, jobs.c.id, want.tags or {})
    order = _LONG_LARGE_FIRST if want.long_large_first else _ACQUIRE_ORDER
    return (
        select(
            jobs.c.id,
            jobs.c.priority,
            jobs.c.num_nodes,
            jobs.c.node_packing_count,
            jobs.c.wall_time_min,
        )
        .where(*conditions)
        .order_by(*order)
        .limit(want.max_num_jobs)
    )


def hold(
    conn: Connection, owner: Owner, session_id: int, batch_job_id: int | None, wanted: Collection[int]
) -> list[dict[str, Any]]:
    """Gives jobs to a session; their whole rows."""
    values: dict[str, Any] = {"session_id": session_id}
    if batch_job_id is not None:
        values["batch_job_id"] = batch_job_id
    stmt = update(jobs).where(*mine(jobs, owner), among(jobs.c.id, wanted)).values(**values)
    return dicts(conn.execute(stmt.returning(*jobs.c)))


def held(conn: Connection, owner: Owner, session_id: int) -> dict[int, JobState]:
    """The jobs of a session with their states, locked."""
    stmt = (
        select(jobs.c.id, jobs.c.state)
        .where(*mine(jobs, owner), jobs.c.session_id == session_id)
        .order_by(jobs.c.id)
        .with_for_update(key_share=True)
    )
    return {job_id: JobState(state) for job_id, state in conn.execute(stmt).all()}


def free(conn: Connection, owner: Owner, session_id: int, wanted: Collection[int]) -> None:
    stmt = update(jobs).where(
        *mine(jobs, owner), jobs.c.session_id == session_id, among(checked(jobs.c.id), wanted)
    )
    conn.execute(stmt.values(session_id=None))


def waiting_children(conn: Connection, owner: Owner, parents: Collection[int]) -> list[int]:
    """Jobs that wait for any of these parents, locked in id order."""
    children = select(job_parents.c.job_id).where(among(job_parents.c.parent_id, parents))
    stmt = (
        select(jobs.c.id)
        .where(
            *mine(jobs, owner.everywhere),
            checked(jobs.c.state) == JobState.awaiting_parents,
            jobs.c.id.in_(children),
        )
        .order_by(jobs.c.id)
        .with_for_update(key_share=True)
    )
    return list(conn.execute(stmt).scalars().all())


def with_all_parents_done(conn: Connection, owner: Owner, children: Collection[int]) -> list[int]:
    """Those of the children none of whose parents is missing or not yet done as `parents_must` says."""
    parent = jobs.alias("parent")
    not_done = or_(
        parent.c.id.is_(None),
        parent.c.state.not_in(list(DONE_STATES)),
        and_(parent.c.state == JobState.failed, jobs.c.parents_must == ParentsMust.finish),
    )
    unfinished = exists(
        select(1)
        .select_from(job_parents.outerjoin(parent, parent.c.id == job_parents.c.parent_id))
        .where(job_parents.c.job_id == jobs.c.id, not_done)
        .correlate(jobs)
    )
    stmt = select(jobs.c.id).where(*mine(jobs, owner.everywhere), among(jobs.c.id, children), ~unfinished)
    return sorted(conn.execute(stmt).scalars())


def parent_states(
    conn: Connection, owner: Owner, parents: Collection[int], *, locked: bool = False
) -> dict[int, JobState]:
    """The states of those that exist.

    `locked`: until the transaction ends none of them changes, or a parent could finish between this and the
    insert of its child, which then waited for ever.
    """
    stmt = select(jobs.c.id, jobs.c.state).where(*mine(jobs, owner.everywhere), among(jobs.c.id, parents))
    if locked:
        stmt = stmt.order_by(jobs.c.id).with_for_update(read=True)
    return {job_id: JobState(state) for job_id, state in conn.execute(stmt).all()}


def lock_parents(conn: Connection, owner: Owner, children: Collection[int]) -> None:
    """Until the transaction ends, no parent of these jobs changes."""
    parents = select(job_parents.c.parent_id).where(among(job_parents.c.job_id, children))
    stmt = select(jobs.c.id).where(*mine(jobs, owner), jobs.c.id.in_(parents)).order_by(jobs.c.id)
    conn.execute(stmt.with_for_update(read=True))


@dataclass(frozen=True, slots=True)
class Staging:
    """Jobs by what is to be staged: items that are not done in and out, and any that go out at all."""

    still_in: frozenset[int]
    still_out: frozenset[int]
    outputs: frozenset[int]


def staging(conn: Connection, owner: Owner, wanted: Collection[int]) -> Staging:
    """Which of these jobs have files to stage."""
    done = transfers.c.state == TransferItemState.done
    stmt = select(transfers.c.job_id, transfers.c.direction, done).distinct()
    stmt = stmt.where(transfers.c.owner_id == owner.user_id, among(transfers.c.job_id, wanted))
    found = conn.execute(stmt).all()
    out = TransferDirection.stage_out
    return Staging(
        still_in=frozenset(job_id for job_id, way, done in found if way != out and not done),
        still_out=frozenset(job_id for job_id, way, done in found if way == out and not done),
        outputs=frozenset(job_id for job_id, way, _ in found if way == out),
    )
