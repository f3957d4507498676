"""What `group_by` names, as a column beside the rows of events, runs or jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Table, cast, literal, select
from sqlalchemy import Text as SqlText

from balsam.core.errors import Invalid
from balsam.store.owner import Owner
from balsam.store.tables import apps, batch_jobs, job_tags, jobs, runs, sites

TAG = "tag:"
Label = Callable[[Table], ColumnElement[Any]]


def label(owner: Owner, by: str | None, table: Table) -> ColumnElement[Any]:
    """The group of each row of `events`, `runs` or `jobs`: a text, a number, or None where it has none.

    Raises Invalid for a name that these rows can't be grouped by.
    """
    if by is None:
        return cast(literal(None), SqlText)
    if by.startswith(TAG) and len(by) > len(TAG):
        return _tag(owner, by.removeprefix(TAG), table)
    known = names(table)
    if by not in known:
        raise Invalid(f"group_by={by!r} is none of: {', '.join(known)}, tag:KEY")
    return _LABELS[by](table)


def names(table: Table) -> list[str]:
    """What the table's rows can be grouped by, beside tags."""
    return [name for name in _LABELS if name not in _OF_RUNS or table is runs]


def of_allocations(by: str | None) -> ColumnElement[Any] | None:
    """The group of each BatchJob where groups are made of whole BatchJobs; None where they are not."""
    if by is None:
        return cast(literal(None), SqlText)
    return _OF_ALLOCATIONS[by](batch_jobs) if by in _OF_ALLOCATIONS else None


def is_of_allocations(by: str | None) -> bool:
    """Whether each of the groups is made of whole BatchJobs."""
    return by is None or by in _OF_ALLOCATIONS


def allocation_names() -> str:
    """The names of those, in a sentence."""
    return ", ".join(_OF_ALLOCATIONS)


def _job_id(table: Table) -> ColumnElement[int]:
    return table.c.id if table is jobs else table.c.job_id


def _tag(owner: Owner, key: str, table: Table) -> ScalarSelect[str]:
    stmt = select(job_tags.c.value).where(
        job_tags.c.owner_id == owner.user_id, job_tags.c.key == key, job_tags.c.job_id == _job_id(table)
    )
    return stmt.limit(1).correlate(table).scalar_subquery()


def _site(table: Table) -> ScalarSelect[str]:
    stmt = select(sites.c.name).where(sites.c.id == table.c.site_id)
    return stmt.correlate(table).scalar_subquery()


def _app(table: Table) -> ScalarSelect[str]:
    if table is jobs:
        return select(apps.c.name).where(apps.c.id == jobs.c.app_id).correlate(jobs).scalar_subquery()
    job = jobs.alias("its_job")
    stmt = select(apps.c.name).select_from(job.join(apps, apps.c.id == job.c.app_id))
    return stmt.where(job.c.id == table.c.job_id).correlate(table).scalar_subquery()


def _of_allocation(name: str) -> Label:
    def column(table: Table) -> ColumnElement[Any]:
        if table is batch_jobs:
            return batch_jobs.c[name]
        its = batch_jobs.alias("its_batch_job")
        stmt = select(its.c[name]).where(its.c.id == table.c.batch_job_id)
        return stmt.correlate(table).scalar_subquery()

    return column


_OF_ALLOCATIONS: dict[str, Label] = {
    "site": _site,
    "project": _of_allocation("project"),
    "queue": _of_allocation("queue"),
    "batch_job": lambda table: table.c.id if table is batch_jobs else table.c.batch_job_id,
    "allocation_nodes": _of_allocation("num_nodes"),
}
_LABELS: dict[str, Label] = {
    **_OF_ALLOCATIONS,
    "app": _app,
    "num_nodes": lambda table: runs.c.num_nodes,
    "attempt": lambda table: runs.c.attempt,
    "job": _job_id,
}
_OF_RUNS = frozenset({"num_nodes", "attempt"})
