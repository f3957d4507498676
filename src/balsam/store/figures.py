"""The rows behind the analytics: each statement is one figure's, over a scope and by group.

`by` is what `group_by` names (see `store.groups`), None for all in one group, which is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.types import BigInteger, Float

from balsam.core.states import DONE_STATES, RUN_END_STATES, JobState
from balsam.store import lineage
from balsam.store.bulk import among
from balsam.store.columns import columns, columns_by
from balsam.store.groups import label, of_allocations
from balsam.store.owner import mine
from balsam.store.scope import Scope
from balsam.store.tables import batch_jobs, events, jobs, runs, sessions

Group = str | int | float | None
Columns = list[list[Any]]


class Unit(StrEnum):
    """What a run keeps busy: itself, its nodes, its CPU cores or its GPUs."""

    job = "job"
    node = "node"
    cpu = "cpu"
    gpu = "gpu"


def _weight(unit: Unit) -> ColumnElement[float]:
    columns_of: dict[Unit, ColumnElement[Any]] = {
        Unit.job: literal(1.0, Float()),
        Unit.node: runs.c.num_nodes,
        Unit.cpu: func.coalesce(runs.c.cpus, 0.0),
        Unit.gpu: func.coalesce(runs.c.gpus, 0.0),
    }
    return columns_of[unit]


def _grouped(
    conn: Connection,
    scope: Scope,
    by: str | None,
    table: Any,
    values: Sequence[ColumnElement[Any]],
    where: Sequence[ColumnElement[bool]],
) -> dict[Group, Columns]:
    named = [value.label(f"value{number}") for number, value in enumerate(values)]
    if by is None:
        found = columns(conn, select(*named).where(*where))
        return {None: found} if found[0] else {}
    group = label(scope.owner, by, table).label("of_group")
    return {
        key: found for (key,), found in columns_by(conn, select(group, *named).where(*where), keys=1).items()
    }


# ---- throughput ----


def entries(conn: Connection, scope: Scope, by: str | None, to_state: str) -> dict[Group, Columns]:
    """One column: when jobs entered a state."""
    return _grouped(conn, scope, by, events, [events.c.timestamp], _entered(scope, to_state))


def entry_range(conn: Connection, scope: Scope, to_state: str) -> tuple[int, int] | None:
    """The first and the last of them."""
    where = _entered(scope, to_state)
    # Two statements: with two ends in one, SQLite goes through all between.
    first = conn.execute(select(func.min(events.c.timestamp)).where(*where)).scalar()
    last = conn.execute(select(func.max(events.c.timestamp)).where(*where)).scalar()
    return None if first is None or last is None else (first, last)


def entry_bins(
    conn: Connection, scope: Scope, by: str | None, to_state: str, start: int, width: int
) -> list[tuple[Group, int, int]]:
    """(group, number of the bin, how many)."""
    rows = select(
        label(scope.owner, by, events).label("of_group"),
        _bin(events.c.timestamp, start, width).label("bin"),
    ).where(*_entered(scope, to_state))
    return _counted(conn, rows, 2)


def _entered(scope: Scope, to_state: str) -> list[ColumnElement[bool]]:
    return [*scope.events(), events.c.to_state == to_state]


def _bin(column: ColumnElement[int], start: int, width: int) -> ColumnElement[int]:
    # Numbers of the program, not of the request: as text, so that PostgreSQL sees whole numbers.
    return (column - _number(start)) // _number(width)


def _number(value: int) -> ColumnElement[int]:
    return sql_cast(literal(value, BigInteger()), BigInteger)


def _counted(conn: Connection, rows: Select[Any], keys: int) -> list[Any]:
    found = rows.subquery()
    key = list(found.c)[:keys]
    return list(conn.execute(select(*key, func.count()).group_by(*key)).all())


# ---- utilization ----


def spans(conn: Connection, scope: Scope, by: str | None, unit: Unit) -> dict[Group, Columns]:
    """Three columns: start, end (None while it goes on) and weight of each run."""
    return _grouped(conn, scope, by, runs, [runs.c.start, runs.c.end, _weight(unit)], scope.runs())


def span_range(conn: Connection, scope: Scope) -> tuple[int, int, bool] | None:
    """The first start, the last start or end, and whether a run still goes on."""
    is_open = func.count() - func.count(runs.c.end)
    last = func.max(func.coalesce(case((runs.c.end > runs.c.start, runs.c.end)), runs.c.start))
    row = conn.execute(select(func.min(runs.c.start), last, is_open).where(*scope.runs())).one()
    return None if row[0] is None else (row[0], row[1], row[2] > 0)


def span_moments(
    conn: Connection,
    scope: Scope,
    by: str | None,
    unit: Unit,
    start: int,
    width: int,
    end: int | None,
) -> list[tuple[Any, ...]]:
    """(group, first bin, last bin, weight, weight times start, weight times end), cut to the window.

    `end`: where the window ends, if runs go on beyond it; None spares each row the question.
    """
    origin, weight = _number(start), _weight(unit)
    begin = runs.c.start if scope.after is None else _greater(conn, runs.c.start, origin)
    finish = _greater(conn, runs.c.end, begin)
    where = scope.runs()
    if end is not None:
        last = _number(end)
        finish = case((or_(runs.c.end.is_(None), runs.c.end > last), last), else_=finish)
        where.append(runs.c.start <= last)
    keys = [_bin(begin, start, width).label("first"), _bin(finish, start, width).label("last")]
    if by is not None:
        keys.insert(0, label(scope.owner, by, runs).label("of_group"))
    values = {
        "weight": weight,
        "weight_start": weight * (begin - origin),
        "weight_end": weight * (finish - origin),
    }
    rows = select(*keys, *(value.label(name) for name, value in values.items())).where(*where).subquery()
    names = [rows.c[key.name] for key in keys]
    sums = [func.sum(rows.c[name]) for name in values]
    found = conn.execute(select(*names, *sums).group_by(*names))
    return [tuple(row) if by is not None else (None, *row) for row in found]


def _greater(conn: Connection, one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    """Both have functions of rows for it, which are much faster than CASE on SQLite."""
    name = func.max if conn.dialect.name == "sqlite" else func.greatest
    return name(one, other, type_=BigInteger())


def run_spans(conn: Connection, scope: Scope, by: str | None) -> list[tuple[Any, ...]]:
    """(group, BatchJob, start, end, nodes, cpus, gpus) of each run."""
    stmt = select(
        label(scope.owner, by, runs),
        runs.c.batch_job_id,
        runs.c.start,
        runs.c.end,
        runs.c.num_nodes,
        func.coalesce(runs.c.cpus, 0.0),
        func.coalesce(runs.c.gpus, 0.0),
    ).where(*scope.runs())
    found = columns(conn, stmt)
    return list(zip(*found, strict=True))


def spans_of_batch_jobs(conn: Connection, scope: Scope) -> list[tuple[int, int, int | None, float]]:
    """(BatchJob, start, end, nodes) of every run in the scope's allocations, whoever's choice it is."""
    inside = runs.c.batch_job_id.in_(select(batch_jobs.c.id).where(*scope.batch_jobs()))
    stmt = select(runs.c.batch_job_id, runs.c.start, runs.c.end, runs.c.num_nodes)
    found = columns(conn, stmt.where(*mine(runs, scope.owner), inside))
    return list(zip(*found, strict=True))


# ---- allocations ----


def launcher_spans(conn: Connection, scope: Scope, by: str | None) -> list[tuple[Any, ...]]:
    """(group, BatchJob, start, end or None while live, nodes) of each launcher of the scope's BatchJobs.

    A BatchJob that no launcher of ours reported for gives its own times instead.
    """
    group = of_allocations(by)
    of_group = literal(None) if group is None else group
    launchers = and_(
        sessions.c.batch_job_id == batch_jobs.c.id, *mine(sessions, scope.owner), sessions.c.num_nodes > 0
    )
    ours = select(of_group, batch_jobs.c.id, sessions.c.started, sessions.c.ended, sessions.c.num_nodes)
    ours = ours.select_from(batch_jobs.join(sessions, launchers)).where(*scope.batch_jobs())
    told = select(sessions.c.batch_job_id).where(
        *mine(sessions, scope.owner), sessions.c.num_nodes > 0, sessions.c.batch_job_id.is_not(None)
    )
    theirs = select(
        of_group, batch_jobs.c.id, batch_jobs.c.start_time, batch_jobs.c.end_time, batch_jobs.c.num_nodes
    ).where(*scope.batch_jobs(), batch_jobs.c.id.not_in(told), batch_jobs.c.start_time.is_not(None))
    return [tuple(row) for stmt in (ours, theirs) for row in conn.execute(stmt)]


# ---- durations ----


def stays(conn: Connection, scope: Scope, by: str | None) -> dict[tuple[Group, str], list[int]]:
    """Microseconds of each stay in a state that ended in the window, by (group, state)."""
    group = _attempt(scope) if by == "attempt" else label(scope.owner, by, events)
    stay = (events.c.timestamp - events.c.entered).label("stay")
    stmt = select(group.label("of_group"), events.c.from_state, stay).where(
        *scope.events(), events.c.from_state != JobState.created
    )
    return {(key[0], key[1]): found[0] for key, found in columns_by(conn, stmt, keys=2).items()}


# States in which a job is after a run and before anything of the next one.
_AFTER_A_RUN = (*RUN_END_STATES, JobState.postprocessed, JobState.staged_out, *DONE_STATES)


def _attempt(scope: Scope) -> ColumnElement[int]:
    """The number of a stay's attempt: the next one's, but what follows a run is that run's."""
    earlier = events.alias("earlier")
    ended = (
        select(func.count())
        .select_from(earlier)
        .where(
            earlier.c.job_id == events.c.job_id,
            earlier.c.id < events.c.id,
            earlier.c.from_state == JobState.running,
        )
        .correlate(events)
        .scalar_subquery()
    )
    is_after = events.c.from_state.in_([state.value for state in _AFTER_A_RUN])
    return case((and_(is_after, ended > 0), ended), else_=ended + 1)


def delays(conn: Connection, scope: Scope, by: str | None) -> dict[Group, list[int]]:
    """Microseconds from when its job became runnable to each run's start in the window."""
    where = [*scope.runs(), events.c.id == runs.c.start_event_id]
    if scope.after is not None:
        where.append(runs.c.start >= scope.after)
    found = _grouped(conn, scope, by, runs, [events.c.timestamp - events.c.entered], where)
    return {group: one[0] for group, one in found.items()}


# ---- failures ----

_FAILED_RUNS = (JobState.run_error.value,)


def failed_runs(conn: Connection, scope: Scope, by: str | None) -> list[tuple[Any, ...]]:
    """(group, signature, failures, jobs, first end, last end, the newest's end event, jobs finished since).

    By group and signature, of runs that ended with an error in the window. By host the
    group is the JSON text of the run's nodes.
    """
    rows = (
        select(
            _hosts_or_label(scope, by).label("of_group"),
            runs.c.signature,
            runs.c.job_id,
            runs.c.end,
            runs.c.end_event_id,
            case((jobs.c.state == JobState.job_finished, jobs.c.id)).label("mended"),
        )
        .select_from(runs.join(jobs, jobs.c.id == runs.c.job_id))
        .where(*_ended(scope), runs.c.end_state.in_(_FAILED_RUNS))
        .subquery()
    )
    keys = [rows.c.of_group, rows.c.signature]
    stmt = select(
        *keys,
        func.count(),
        func.count(rows.c.job_id.distinct()),
        func.min(rows.c.end),
        func.max(rows.c.end),
        func.max(rows.c.end_event_id),
        func.count(rows.c.mended.distinct()),
    ).group_by(*keys)
    return [tuple(row) for row in conn.execute(stmt)]


def jobs_of_failures(conn: Connection, scope: Scope, each: int) -> dict[str, list[int]]:
    """By signature the newest jobs with such a run, `each` at most."""
    found = (
        select(runs.c.signature, runs.c.job_id)
        .where(*_ended(scope), runs.c.end_state.in_(_FAILED_RUNS))
        .distinct()
        .subquery()
    )
    place = func.row_number().over(partition_by=found.c.signature, order_by=found.c.job_id.desc())
    numbered = select(found.c.signature, found.c.job_id, place.label("place")).subquery()
    stmt = select(numbered.c.signature, numbered.c.job_id).where(numbered.c.place <= each)
    by_signature: dict[str, list[int]] = {}
    for signature, job_id in conn.execute(stmt.order_by(numbered.c.job_id.desc())):
        by_signature.setdefault(signature, []).append(job_id)
    return by_signature


def ended_runs(conn: Connection, scope: Scope, by: str | None) -> dict[Group, int]:
    """How many runs ended in the window, by group."""
    rows = select(_hosts_or_label(scope, by).label("of_group")).where(*_ended(scope))
    return dict(_counted(conn, rows, 1))


def _ended(scope: Scope) -> list[ColumnElement[bool]]:
    where = [*scope.runs(), runs.c.end.is_not(None)]
    return where if scope.before is None else [*where, runs.c.end <= scope.before]


def _hosts_or_label(scope: Scope, by: str | None) -> ColumnElement[Any]:
    return sql_cast(runs.c.nodes, Text) if by == "host" else label(scope.owner, by, runs)


def event_data(conn: Connection, scope: Scope, event_ids: Sequence[int]) -> dict[int, tuple[int, Any]]:
    """The job and the data of these events."""
    stmt = select(events.c.id, events.c.job_id, events.c.data).where(
        *mine(events, scope.owner), among(events.c.id, event_ids)
    )
    return {event_id: (job_id, data) for event_id, job_id, data in conn.execute(stmt)}


# ---- what is done and what is left ----


def finished_runs(conn: Connection, scope: Scope, by: str | None) -> dict[Group, Columns]:
    """Three columns, start, end and nodes, of each run that ended well in the window."""
    where = [*_ended(scope), runs.c.end_state == JobState.run_done]
    return _grouped(conn, scope, by, runs, [runs.c.start, runs.c.end, runs.c.num_nodes], where)


def apps_of_finished_runs(conn: Connection, scope: Scope) -> int:
    """How many apps these are of."""
    where = [*_ended(scope), runs.c.end_state == JobState.run_done, jobs.c.id == runs.c.job_id]
    return conn.execute(select(func.count(jobs.c.app_id.distinct())).where(*where)).scalar_one()


def jobs_by_state(conn: Connection, scope: Scope, by: str | None) -> list[tuple[Group, str, int]]:
    """(group, state, jobs), as they are now."""
    rows = select(label(scope.owner, by, jobs).label("of_group"), jobs.c.state).where(*scope.jobs())
    return _counted(conn, rows, 2)


def never_starting(conn: Connection, scope: Scope, by: str | None) -> list[tuple[Group, int]]:
    """How many of the scope's jobs can never start, as `lineage.never_starting` has it, by group."""
    never = lineage.never_starting(scope.owner)
    where = [*scope.jobs(), jobs.c.id.in_(select(never.c.job_id))]
    return _counted(conn, select(label(scope.owner, by, jobs).label("of_group")).where(*where), 1)


def ended_jobs(
    conn: Connection, scope: Scope, by: str | None, since: int, until: int
) -> list[tuple[Group, int]]:
    """How many of the scope's jobs came to their end in that time, by group."""
    chosen = select(jobs.c.id).where(*scope.jobs())
    done = [state.value for state in DONE_STATES]
    rows = select(label(scope.owner, by, events).label("of_group")).where(
        *mine(events, scope.owner),
        events.c.to_state.in_(done),
        events.c.timestamp > since,
        events.c.timestamp <= until,
        events.c.job_id.in_(chosen),
    )
    return _counted(conn, rows, 1)
