"""Totals by day, site, app and state: of jobs that are there, and what was kept of those that were pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Float,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    union_all,
)

from balsam.core.states import DONE_STATES
from balsam.store.bulk import among, dicts
from balsam.store.owner import Owner, mine
from balsam.store.tables import events, jobs, runs, totals

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
KEYS = ("site_id", "app_id", "day", "state")
SUMS = ("jobs", "events", "runs", "node_hours")


@dataclass(frozen=True, slots=True)
class TotalFilter:
    """None filters nothing. `first_day`, `last_day`: numbers of days since 1970, both included."""

    site_id: Collection[int] | None = None
    app_id: Collection[int] | None = None
    first_day: int | None = None
    last_day: int | None = None


def page(conn: Connection, owner: Owner, f: TotalFilter, by: Sequence[str]) -> list[dict[str, Any]]:
    """Sums by some of `KEYS`, in their order."""
    kept = select(*(totals.c[name] for name in (*KEYS, *SUMS))).where(*mine(totals, owner, searched=True))
    every: CompoundSelect[Any] = union_all(
        kept, *_present(_of(owner, jobs), _of(owner, events), _of(owner, runs)).selects
    )
    return _summed(conn, every, by, f)


def of_jobs(conn: Connection, owner: Owner, job_ids: Collection[int]) -> list[dict[str, Any]]:
    """Those of some jobs alone, by all of `KEYS`."""
    chosen = [[*mine(table, owner), among(column, job_ids)] for table, column in _JOB_COLUMNS]
    return _summed(conn, _present(*chosen), KEYS, TotalFilter())


_JOB_COLUMNS = ((jobs, jobs.c.id), (events, events.c.job_id), (runs, runs.c.job_id))


def add(conn: Connection, owner: Owner, rows: Sequence[dict[str, Any]]) -> None:
    """Adds to what is kept, for good."""
    if rows:
        ordered = sorted(rows, key=lambda row: [row[name] for name in KEYS])
        conn.execute(text(_ADD), [{"owner_id": owner.user_id, **row} for row in ordered])


_ADD = f"""
INSERT INTO totals (owner_id, {", ".join(KEYS)}, {", ".join(SUMS)})
VALUES (:owner_id, {", ".join(f":{name}" for name in (*KEYS, *SUMS))})
ON CONFLICT (owner_id, {", ".join(KEYS)})
DO UPDATE SET {", ".join(f"{name} = totals.{name} + excluded.{name}" for name in SUMS)}
"""

Conditions = Sequence[ColumnElement[bool]]


def _of(owner: Owner, table: Any) -> Conditions:
    return mine(table, owner, searched=True)


def _present(of_jobs: Conditions, of_events: Conditions, of_runs: Conditions) -> CompoundSelect[Any]:
    """Rows of `KEYS` and `SUMS`, made of what is there."""
    node_us = case((runs.c.end > runs.c.start, (runs.c.end - runs.c.start) * runs.c.num_nodes), else_=0.0)
    hours = func.sum(cast(node_us, Float)) / HOUR_US
    of_end = _keys(jobs, jobs.c.state_since, jobs.c.state)
    of_entry = _keys(events, events.c.timestamp, events.c.to_state)
    of_run = _keys(runs, runs.c.end, runs.c.end_state)
    ended = select(*of_end, *_sums(jobs=func.count()))
    entered = select(*of_entry, *_sums(events=func.count()))
    ran = select(*of_run, *_sums(runs=func.count(), node_hours=hours))
    return union_all(
        ended.where(*of_jobs, jobs.c.state.in_(_ENDS)).group_by(*of_end),
        entered.join(jobs, jobs.c.id == events.c.job_id).where(*of_events).group_by(*of_entry),
        ran.join(jobs, jobs.c.id == runs.c.job_id)
        .where(*of_runs, runs.c.end.is_not(None), runs.c.end_state.is_not(None))
        .group_by(*of_run),
    )


_ENDS = [state.value for state in DONE_STATES]


def _sums(**sums: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [sums.get(name, literal_column("0")).label(name) for name in SUMS]


def _keys(table: Any, moment: ColumnElement[int], state: ColumnElement[str]) -> list[ColumnElement[Any]]:
    return [table.c.site_id, jobs.c.app_id, moment // literal_column(str(DAY_US), BigInteger), state]


def _summed(
    conn: Connection, every: CompoundSelect[Any], by: Sequence[str], f: TotalFilter
) -> list[dict[str, Any]]:
    names = (*KEYS, *SUMS)
    rows = every.subquery()
    column = dict(zip(names, rows.c, strict=True))
    keys = [column[name].label(name) for name in by]
    sums = [func.sum(column[name]).label(name) for name in SUMS]
    stmt = select(*keys, *sums).where(*_where(column, f))
    if by:
        stmt = stmt.group_by(*(column[name] for name in by)).order_by(*(column[name] for name in by))
    return [
        {**row, **{name: int(row[name]) for name in SUMS[:-1]}, "node_hours": float(row["node_hours"])}
        for row in dicts(conn.execute(stmt))
        if row["events"] is not None
    ]


def _where(column: Mapping[str, ColumnElement[Any]], f: TotalFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if f.site_id is not None:
        conditions.append(column["site_id"].in_(list(f.site_id)))
    if f.app_id is not None:
        conditions.append(column["app_id"].in_(list(f.app_id)))
    if f.first_day is not None:
        conditions.append(column["day"] >= f.first_day)
    if f.last_day is not None:
        conditions.append(column["day"] <= f.last_day)
    return conditions
