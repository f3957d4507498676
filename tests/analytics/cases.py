"""A random history that is written, what is asked of it, and what of it matches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from balsam.core.states import JobState
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.database import Database
from balsam.store.events import EventFilter
from balsam.store.jobs import JobFilter
from balsam.store.scope import Scope
from tests.analytics import reference
from tests.analytics.histories import NOW, ZERO, History, Job, us, written
from tests.analytics.reference import Event, Run, Window

J = JobState
SEC = 1_000_000
quickly = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@dataclass(frozen=True)
class Choice:
    """A filter, and what it means."""

    filter: EventFilter | JobFilter | BatchJobFilter
    runs: Callable[[Run], bool]
    events: Callable[[Event], bool]
    jobs: Callable[[Job], bool]


def _is_small(job: Job) -> bool:
    return job.tags.get("size") == "1"


def _ran_in_one(job: Job) -> bool:
    return any(move.allocation is not None for move in job.moves)


CHOICES = {
    "everything": Choice(EventFilter(), lambda run: True, lambda event: True, lambda job: True),
    "every job": Choice(JobFilter(), lambda run: True, lambda event: True, lambda job: True),
    "events by tag": Choice(
        EventFilter(tags={"size": "1"}),
        lambda run: _is_small(run.job),
        lambda event: _is_small(event.job),
        _is_small,
    ),
    "jobs by tag": Choice(
        JobFilter(tags={"size": "1"}),
        lambda run: _is_small(run.job),
        lambda event: _is_small(event.job),
        _is_small,
    ),
    "restarts": Choice(
        EventFilter(from_state=["RESTART_READY"]),
        lambda run: run.attempt > 1,
        lambda event: event.old is J.restart_ready,
        lambda job: J.restart_ready in [move.new for move in job.moves[:-1]],
    ),
    "running jobs": Choice(
        JobFilter(state=[J.running]),
        lambda run: run.job.state is J.running,
        lambda event: event.job.state is J.running,
        lambda job: job.state is J.running,
    ),
    "allocations": Choice(
        BatchJobFilter(),
        lambda run: run.allocation is not None,
        lambda event: event.allocation is not None or event.first_allocation is not None,
        _ran_in_one,
    ),
}
choices = st.sampled_from(list(CHOICES.values()))
optional_seconds = st.none() | st.integers(0, 70)
windows = st.builds(Window, after=optional_seconds, before=optional_seconds)
labels = st.sampled_from([None, "site", "app", "project", "batch_job", "tag:size"])
bin_numbers = st.integers(1, 7)


@dataclass(frozen=True)
class Case:
    """A history that is written, what is asked of it, and what of it matches."""

    conn: Connection
    scope: Scope
    history: History
    choice: Choice
    window: Window

    def runs(self) -> list[Run]:
        found = reference.runs(self.history)
        return [run for run in found if self.choice.runs(run) and run.overlaps(self.window)]

    def events(self) -> list[Event]:
        found = reference.events(self.history)
        return [event for event in found if self.choice.events(event) and self.window.holds(event.move.at)]


@contextmanager
def case(db: Database, history: History, choice: Choice, window: Window) -> Iterator[Case]:
    after = None if window.after is None else us(window.after)
    before = None if window.before is None else us(window.before)
    wanted = choice.filter
    if isinstance(wanted, EventFilter):
        values = {name: getattr(wanted, name) for name in ("tags", "from_state")}
        wanted = EventFilter(**values, timestamp_after=after, timestamp_before=before)
    with written(db, history) as (conn, owner):
        yield Case(conn, Scope.of(conn, owner, wanted, after, before, now=NOW), history, choice, window)


def told(answer: dict[str, Any], by: str | None) -> dict[Any, tuple[list[float], list[float]]]:
    """The series of each group that has one, in seconds."""
    groups = [{"group": None, **answer}] if by is None else answer["groups"]
    return {
        one["group"]: ([(time - ZERO) / SEC for time in one["times_us"]], one["values"])
        for one in groups
        if one["times_us"]
    }


def spans(runs: list[Run], unit: str) -> list[tuple[int, int | None, float]]:
    return [(run.start, run.stop, run.weight(unit)) for run in runs]


def edges_of(times: list[float], number: int) -> None:
    """Times in equal steps, as many as were asked for, or fewer where the steps are microseconds."""
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert 1 <= len(steps) <= number
    assert all(step == pytest.approx(steps[0], abs=1e-5) for step in steps[:-1])
    assert 0 < steps[-1] <= steps[0] + 1e-9
