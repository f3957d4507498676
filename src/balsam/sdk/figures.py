"""Asking the server for series and tables, over the filters of a query."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict, TypeVar

from balsam.core.clock import UtcDatetime
from balsam.schemas.analytics import Group, Subject
from balsam.schemas.types import Wire
from balsam.sdk.batch_jobs import BatchJobQuery
from balsam.sdk.events import EventLogQuery
from balsam.sdk.jobs import JobQuery
from balsam.sdk.query import IDS_PER_REQUEST, Query, too_many

R = TypeVar("R", bound=Wire)
AnyQuery = EventLogQuery | JobQuery | BatchJobQuery
Series = tuple[list[UtcDatetime], list[float]]
_SUBJECTS: dict[type[Query[Any]], Subject] = {
    EventLogQuery: Subject.events,
    JobQuery: Subject.jobs,
    BatchJobQuery: Subject.batch_jobs,
}


class Window(TypedDict, total=False):
    """Only what lies in this time; naive datetimes are UTC. A query of events may hold it as filters."""

    timestamp_after: datetime | None
    timestamp_before: datetime | None


def series(query: AnyQuery, figure: str, **options: Any) -> Series:
    """Times and values; `([], [])` where nothing matches."""
    answer = ask(query, figure, {"times_us": [], "values": []}, **options)
    return _series(answer)


def series_by_group(query: AnyQuery, figure: str, group_by: str, **options: Any) -> dict[Group, Series]:
    """The series of each group."""
    answer = ask(query, figure, {"groups": []}, group_by=group_by, **options)
    return {one["group"]: _series(one) for one in answer["groups"]}


def _series(answer: Any) -> Series:
    # Unlike all else that comes, not looked at one by one: there may be millions.
    return UtcDatetime.each_of_us(answer["times_us"]), answer["values"]


def table(query: AnyQuery, figure: str, row: type[R], **options: Any) -> list[R]:
    """The rows of a figure."""
    return [row(**found) for found in ask(query, figure, [], **options)]


def ask(query: AnyQuery, figure: str, nothing: Any, **options: Any) -> Any:
    """The server's answer, `nothing` where the query can match nothing.

    Raises TypeError for what is no query, ValueError for a slice and for more ids than a request takes.
    """
    subject = _SUBJECTS.get(type(query))
    if subject is None:
        raise TypeError(
            f"a query is needed, such as EventLog.objects.filter(...), and not {type(query).__name__}: "
            "only throughput_report, utilization_report and available_nodes take lists, without options"
        )
    must_be_whole(query)
    if query.matches_nothing:
        return nothing
    given = {name: value for name, value in options.items() if value is not None}
    return query.client().get(f"/analytics/{subject}/{figure}", {**query.filters, **given})


def must_be_whole(query: Query[Any]) -> None:
    """Raises ValueError for queries that no report can be made of."""
    if query.is_sliced:
        raise ValueError(
            "a report needs whole runs, and a slice cuts them: narrow the query with filters, "
            "such as timestamp_after and timestamp_before, or give a list"
        )
    for name, value in query.filters.items():
        if isinstance(value, list) and len(value) > IDS_PER_REQUEST:
            raise ValueError(too_many("a report", name, len(value)))
