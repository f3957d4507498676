"""Jobs that are not finished, grouped by what decides why they wait: counts in SQL, never job by job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, and_, case, exists, func, literal, select

from balsam.core.states import DONE_STATES, RUNNABLE_STATES, JobState, ParentsMust, TransferItemState
from balsam.store import ids, lineage
from balsam.store import jobs as job_store
from balsam.store.bulk import among, condition, dicts
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner, mine
from balsam.store.tables import ACQUIRABLE, events, job_parents, jobs, runs, transfers
from balsam.store.tags import has_tags, with_tags

J = JobState
MAX_GROUPS = 20_000
MAX_LOOKED_AT = 1_000  # of the jobs that wait for nodes at a site, where each is looked at
IDS_AT_ONCE = 250_000  # whose keys fit into memory together
TagSet = frozenset[tuple[str, str]]

_STAGING = [J.ready, J.postprocessed]
_RESOURCES = (
    jobs.c.num_nodes,
    jobs.c.ranks_per_node,
    jobs.c.gpus_per_rank,
    jobs.c.mem_mb_per_rank,
    jobs.c.wall_time_min,
)


@dataclass(frozen=True, slots=True)
class Parents:
    """Jobs by what is the matter with the parents that they wait for: gone, failed, lost, unfinished, done.

    `lost`: a parent that can never start itself.
    """

    site_id: int
    matter: str
    count: int
    job_id: int


def for_nodes(conn: Connection, owner: Owner, site_id: int) -> list[dict[str, Any]]:
    """Jobs of a site that are ready to run and that nobody holds: MAX_LOOKED_AT of them at most."""
    found: list[dict[str, Any]] = []
    for state in sorted(RUNNABLE_STATES):
        stmt = select(jobs.c.id, jobs.c.tags, *_RESOURCES).where(
            *mine(jobs, owner),
            jobs.c.site_id == site_id,
            jobs.c.session_id.is_(None),
            jobs.c.state == state,
            condition(ACQUIRABLE),
        )
        found += dicts(conn.execute(stmt.limit(MAX_LOOKED_AT - len(found))))
    return sorted(found, key=lambda row: int(row["id"]))


@dataclass(frozen=True, slots=True)
class InHand:
    """What a launcher holds: how many jobs run, the one that has run longest, and how many do not run."""

    running: int
    job_id: int | None
    since: int | None
    waiting: int


def in_hand(conn: Connection, owner: Owner, session_ids: Collection[int]) -> dict[int, InHand]:
    """By session, of those that hold any jobs."""
    if not session_ids:
        return {}
    mine_held = [*mine(jobs, owner), jobs.c.session_id.is_not(None), among(jobs.c.session_id, session_ids)]
    runs_now = jobs.c.state == J.running
    since = func.min(case((runs_now, jobs.c.state_since))).label("since")
    counted = (
        select(
            jobs.c.session_id, func.count().label("held"), func.sum(_flag(runs_now)).label("running"), since
        )
        .where(*mine_held)
        .group_by(jobs.c.session_id)
        .subquery()
    )
    first = (
        select(jobs.c.session_id, func.min(jobs.c.id).label("job_id"))
        .join(
            counted,
            and_(jobs.c.session_id == counted.c.session_id, jobs.c.state_since == counted.c.since),
        )
        .where(*mine_held, runs_now)
        .group_by(jobs.c.session_id)
        .subquery()
    )
    stmt = select(counted, first.c.job_id).join(
        first, first.c.session_id == counted.c.session_id, isouter=True
    )
    return {
        row.session_id: InHand(int(row.running), row.job_id, row.since, row.held - int(row.running))
        for row in conn.execute(stmt)
    }


def groups(conn: Connection, owner: Owner, f: JobFilter, tag_sets: Sequence[TagSet]) -> list[dict[str, Any]]:
    """Counts of the chosen jobs but those that have ended or wait for parents, the largest first.

    Each group has a `job_id` of its own, `state`, `site_id`, `session_id`; `killed`; `broken` (a
    transfer is in error); and, of runnable jobs that nobody holds, their resources and for each of `tag_sets`
    whether they have all these tags (`tags0`, `tags1`, ...). At most MAX_GROUPS of them.
    """
    but = {J.job_finished, J.awaiting_parents, J.failed}
    chosen = job_store.chosen(conn, owner, replace(f, state=_states(f) - but))
    is_sqlite = conn.dialect.name == "sqlite"
    has_all = has_tags if is_sqlite else with_tags
    tagged = [and_(*has_all(owner, jobs.c.id, dict(sorted(tags)))) for tags in tag_sets]
    of_runnable = [*_RESOURCES, *(_flag(has).label(f"tags{n}") for n, has in enumerate(tagged))]
    group = _groups_by_hand if is_sqlite else _groups_by_hash
    return group(conn, _of_all(), of_runnable, chosen)


def _states(f: JobFilter) -> set[JobState]:
    return set(JobState if f.state is None else f.state)


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _of_all() -> list[Label[Any]]:
    broken = exists(
        select(literal(1)).where(
            transfers.c.job_id == jobs.c.id, transfers.c.state == TransferItemState.error
        )
    )
    return [
        jobs.c.state.label("state"),
        jobs.c.site_id.label("site_id"),
        jobs.c.session_id.label("session_id"),
        _flag(jobs.c.killed_by.is_not(None)).label("killed"),
        _flag(and_(jobs.c.state.in_(_STAGING), broken)).label("broken"),
    ]


def _is_free() -> ColumnElement[bool]:
    return and_(jobs.c.state.in_(list(RUNNABLE_STATES)), jobs.c.session_id.is_(None))


Keys = Sequence[ColumnElement[Any]]


def _groups_by_hash(
    conn: Connection, of_all: Keys, of_runnable: Keys, chosen: Sequence[ColumnElement[bool]]
) -> list[dict[str, Any]]:
    """As PostgreSQL does it well."""
    rest = [case((_is_free(), key), else_=None).label(key.name) for key in of_runnable]
    each = select(jobs.c.id, *of_all, *rest).where(*chosen).subquery()
    names = [column for column in each.c if column.name != "id"]
    counted = func.count().label("count")
    stmt = select(*names, counted, func.min(each.c.id).label("job_id")).group_by(*names)
    return dicts(conn.execute(stmt.order_by(counted.desc()).limit(MAX_GROUPS)))


def _groups_by_hand(
    conn: Connection, of_all: Keys, of_runnable: Keys, chosen: Sequence[ColumnElement[bool]]
) -> list[dict[str, Any]]:
    """SQLite sorts what it groups, far slower than it reads: here it only joins the keys to one text."""
    text = _joined(of_all).concat(case((_is_free(), literal("|").concat(_joined(of_runnable))), else_=""))
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for first, last in _id_ranges(conn):
        stmt = select(func.group_concat(text, "\n"), func.group_concat(jobs.c.id, "\n"))
        texts, job_ids = conn.execute(stmt.where(*chosen, jobs.c.id >= first, jobs.c.id < last)).one()
        if texts is not None:
            of_each = texts.split("\n")
            counts.update(of_each)
            examples = dict(zip(reversed(of_each), reversed(job_ids.split("\n")), strict=True)) | examples
    names = [key.name for key in (*of_all, *of_runnable)]
    return [
        {**_parsed(names, text), "count": count, "job_id": int(examples[text])}
        for text, count in counts.most_common(MAX_GROUPS)
    ]


def _joined(keys: Keys) -> ColumnElement[str]:
    values = [key.element if isinstance(key, Label) else key for key in keys]
    joined: ColumnElement[str] = func.printf("|".join(["%s"] * len(keys)), *values)
    return joined


def _id_ranges(conn: Connection) -> Iterator[tuple[int, int]]:
    for first in range(0, ids.newest(conn, jobs) + 1, IDS_AT_ONCE):
        yield first, first + IDS_AT_ONCE


def _parsed(names: Sequence[str], text: str) -> dict[str, Any]:
    state, *numbers = text.split("|")
    found = dict(zip(names[1:], map(_number, numbers), strict=False))  # fewer, unless it is runnable
    return {**dict.fromkeys(names), "state": state, **found}


def _number(word: str) -> float | int | None:
    if not word:
        return None
    return int(word) if word.isdecimal() else float(word)


def by_parents(conn: Connection, owner: Owner, f: JobFilter) -> list[Parents]:
    """The chosen jobs that are AWAITING_PARENTS."""
    if J.awaiting_parents not in _states(f):
        return []
    parent = jobs.alias("parent")
    never = lineage.never_starting(owner)
    unlucky = and_(parent.c.state == J.failed, jobs.c.parents_must == ParentsMust.finish)
    matter = case(
        (job_parents.c.parent_id.is_(None), 0),  # forced to wait, without any
        (parent.c.id.is_(None), 4),
        (unlucky, 3),
        (parent.c.id.in_(select(never.c.job_id)), 2),
        (parent.c.state.not_in(list(DONE_STATES)), 1),
        else_=0,
    )
    links = job_parents.outerjoin(
        parent, and_(parent.c.id == job_parents.c.parent_id, parent.c.owner_id == owner.user_id)
    )
    chosen = job_store.chosen(conn, owner, replace(f, state=[J.awaiting_parents]))
    each = (
        select(jobs.c.id, jobs.c.site_id, func.max(matter).label("matter"))
        .select_from(jobs.join(links, job_parents.c.job_id == jobs.c.id, isouter=True))
        .where(*chosen)
        .group_by(jobs.c.id)
        .subquery()
    )
    stmt = select(each.c.site_id, each.c.matter, func.count(), func.min(each.c.id))
    words = ("done", "unfinished", "lost", "failed", "gone")
    return [
        Parents(site_id, words[number], count, job_id)
        for site_id, number, count, job_id in conn.execute(stmt.group_by(each.c.site_id, each.c.matter)).all()
    ]


@dataclass(frozen=True, slots=True)
class Failed:
    """Jobs that FAILED, by the signature of their last run; None where that did not end in an error."""

    site_id: int
    retried: bool
    signature: str | None
    count: int
    job_id: int


def by_failure(conn: Connection, owner: Owner, f: JobFilter) -> list[Failed]:
    """The chosen jobs that FAILED; the largest groups first, at most MAX_GROUPS."""
    if J.failed not in _states(f):
        return []
    chosen = job_store.chosen(conn, owner, replace(f, state=[J.failed]))
    last = and_(
        runs.c.job_id == jobs.c.id, runs.c.attempt == jobs.c.num_runs, runs.c.end_state == J.run_error
    )
    each = (
        select(
            jobs.c.id,
            jobs.c.site_id,
            _flag(jobs.c.num_runs > 1).label("retried"),
            runs.c.signature,
        )
        .select_from(jobs.join(runs, last, isouter=True))
        .where(*chosen)
        .subquery()
    )
    keys = (each.c.site_id, each.c.retried, each.c.signature)
    number = func.count()
    stmt = select(*keys, number, func.min(each.c.id)).group_by(*keys).order_by(number.desc())
    return [
        Failed(site_id, bool(retried), signature, count, job_id)
        for site_id, retried, signature, count, job_id in conn.execute(stmt.limit(MAX_GROUPS)).all()
    ]


def failed_without_error(
    conn: Connection, owner: Owner, f: JobFilter, limit: int
) -> list[tuple[int, int, bool, Any]]:
    """(job, site, whether it ran several times, data of its last event) of the newest that FAILED otherwise.

    By a hook, a kill, or before they ran.
    """
    chosen = job_store.chosen(conn, owner, replace(f, state=[J.failed]))
    failed_run = exists(
        select(literal(1)).where(
            runs.c.job_id == jobs.c.id, runs.c.attempt == jobs.c.num_runs, runs.c.end_state == J.run_error
        )
    )
    newest = (
        select(jobs.c.id, jobs.c.site_id, jobs.c.num_runs)
        .where(*chosen, ~failed_run)
        .order_by(jobs.c.id.desc())
        .limit(limit)
        .subquery()
    )
    last = (
        select(events.c.job_id, func.max(events.c.id).label("id"))
        .where(events.c.job_id.in_(select(newest.c.id)), events.c.to_state == J.failed)
        .group_by(events.c.job_id)
        .subquery()
    )
    stmt = (
        select(newest.c.id, newest.c.site_id, newest.c.num_runs, events.c.data)
        .select_from(newest.join(last, last.c.job_id == newest.c.id).join(events, events.c.id == last.c.id))
        .order_by(newest.c.id.desc())
    )
    return [(row[0], row[1], row[2] > 1, row[3]) for row in conn.execute(stmt).all()]


def among_chosen(conn: Connection, owner: Owner, f: JobFilter, wanted: Collection[int]) -> set[int]:
    """Those of these jobs that the filter chooses."""
    stmt = select(jobs.c.id).where(*job_store.chosen(conn, owner, f), among(jobs.c.id, wanted))
    return set(conn.execute(stmt).scalars())
