"""All that a report tells, gathered from the analytics over one query and window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from balsam import analytics
from balsam.core.clock import UtcDatetime, now_us
from balsam.report import words
from balsam.report.causes import Cause, causes_of
from balsam.report.charts import excess, span_of
from balsam.report.scales import Times
from balsam.schemas.analytics import (
    Attempt,
    Backlog,
    Durations,
    FailedJob,
    Failures,
    NodeHours,
    NodeTimeline,
    StateTimes,
)
from balsam.sdk.figures import AnyQuery, Series, Window

MAX_TAG_KEYS = 3
TAG_VALUES = range(2, 13)  # a tag with so many values tells groups apart; with more, it names single jobs


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a report holds at most, however large the campaign; it says what was left out."""

    attempts: int = 2_000
    bars: int = 3_000
    slowest: int = 10
    failed: int = 500
    signatures: int = 20
    groups: int = 12
    bins: int = 200


@dataclass(frozen=True, slots=True)
class Grouping:
    """Node-hours by one thing, the busiest groups first; `left_out` is the sum of the others."""

    name: str
    rows: list[NodeHours]
    left_out: int = 0
    left_out_busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Campaign:
    """Series are those of the analytics; `total` is None where nothing ran, `backlog` without any job.

    `total.runs` counts all attempts, of which `attempts` are the newest.
    """

    title: str
    chosen: Mapping[str, str]
    made: UtcDatetime
    window: Window
    query_tags: Mapping[str, str] = field(default_factory=dict)
    backlog: Backlog | None = None
    total: NodeHours | None = None
    delays: Durations | None = None
    finished: Series = field(default_factory=lambda: ([], []))
    rates: Series = field(default_factory=lambda: ([], []))
    busy: Series = field(default_factory=lambda: ([], []))
    available: Series = field(default_factory=lambda: ([], []))
    state_times: list[StateTimes] = field(default_factory=list)
    timeline: list[NodeTimeline] = field(default_factory=list)
    slowest: list[Attempt] = field(default_factory=list)
    failed: list[FailedJob] = field(default_factory=list)
    failures: list[Failures] = field(default_factory=list)
    failures_left_out: int = 0
    node_hours: list[Grouping] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def shared_tags(self) -> dict[str, str]:
        """Tags that all have, as far as is known: those of the query, and of all attempts if all are here."""
        if len(self.attempts) < self.num_attempts:
            return dict(self.query_tags)
        shown = [one.tags for one in self.attempts] + [one.tags for one in self.failed]
        shared = [set(tags.items()) for tags in shown]
        return {**self.query_tags, **(dict(sorted(set.intersection(*shared))) if shared else {})}

    @property
    def span(self) -> Times | None:
        """From the first to the last moment that a chart shows, so that all have one axis."""
        series = (self.finished, self.rates, self.busy, self.available)
        moments: list[datetime] = [moment for times, _ in series for moment in (*times[:1], *times[-1:])]
        runs = span_of(self.timeline, self.made)
        moments += [runs.start, runs.end] if runs else []
        return Times.over(moments)

    @property
    def num_bars(self) -> int:
        """How many runs the timeline has."""
        return len({bar.run_id for node in self.timeline for bar in node.bars})

    @property
    def timeline_span(self) -> Times | None:
        """The common axis if all runs are here; else that of those that are."""
        return self.span if self.num_bars >= self.num_attempts else span_of(self.timeline, self.made)

    @property
    def excess_note(self) -> str:
        """A sentence where more nodes were busy than available; empty where not."""
        above = excess(self.busy, self.available)
        if not above:
            return ""
        nodes = "node was" if above == 1 else "nodes were"
        return (
            f"Up to {words.number(above)} {nodes} busy beyond those available: of runs whose launchers told "
            "no times, or by clocks that disagree."
        )

    @property
    def num_attempts(self) -> int:
        return self.total.runs if self.total else 0

    @property
    def num_finished(self) -> int:
        """Jobs that finished in the window."""
        return int(self.finished[1][-1]) if self.finished[1] else 0

    @property
    def causes(self) -> list[Cause]:
        """Why jobs failed for good, each cause once; of those that are here."""
        return causes_of(self.failed)

    @property
    def num_failed(self) -> int:
        """How many jobs are FAILED, of which `failed` are the newest; all, whatever the window."""
        return self.backlog.failed if self.backlog else len(self.failed)

    @property
    def run_times(self) -> StateTimes | None:
        """How long runs took that ended in the window."""
        return next((row for row in self.state_times if row.state == "RUNNING"), None)


def gather(
    query: AnyQuery,
    title: str,
    chosen: Mapping[str, str],
    window: Window,
    bounds: Bounds,
    by_tags: Sequence[str] | None = None,
) -> Campaign:
    """Asks the server for everything; `by_tags` None: by the tags that tell the newest attempts apart."""
    attempts = analytics.trace(query, order="-start", limit=bounds.attempts, **window)
    failures = analytics.failures(query, **window)
    keys = tag_keys(attempts) if by_tags is None else by_tags
    groups = ("app", "site", "batch_job", *(f"tag:{key}" for key in keys))
    times, counts = analytics.throughput_report(query, bins=bounds.bins, **window)
    return Campaign(
        title=title,
        chosen=chosen,
        made=UtcDatetime.of_us(now_us()),
        window=window,
        query_tags={str(key): str(value) for key, value in query.filters.get("tags", {}).items()},
        backlog=next(iter(analytics.backlog(query, **window)), None),
        total=next(iter(analytics.node_hours(query, **window)), None),
        delays=next(iter(analytics.run_delays(query, **window)), None),
        finished=(times, [float(count) for count in counts]),
        rates=analytics.throughput_rates(query, bins=min(bounds.bins, 60), **window),
        busy=analytics.utilization_report(query, bins=bounds.bins, **window),
        available=analytics.available_nodes(query, bins=bounds.bins, **window),
        state_times=analytics.state_times(query, **window),
        timeline=analytics.timeline(query, limit=bounds.bars, **window),
        slowest=analytics.trace(query, order="slowest", limit=bounds.slowest, **window),
        failed=analytics.failed_jobs(query, limit=bounds.failed, **window),
        failures=failures[: bounds.signatures],
        failures_left_out=max(0, len(failures) - bounds.signatures),
        node_hours=[_grouping(query, by, window, bounds.groups) for by in groups],
        attempts=attempts,
    )


def tag_keys(attempts: Iterable[Attempt]) -> list[str]:
    """Tags that tell attempts apart without naming each, those with the fewest values first."""
    values: dict[str, set[str]] = defaultdict(set)
    for one in attempts:
        for key, value in one.tags.items():
            values[key].add(value)
    telling = [key for key, found in values.items() if len(found) in TAG_VALUES]
    return sorted(telling, key=lambda key: (len(values[key]), key))[:MAX_TAG_KEYS]


def _grouping(query: AnyQuery, by: str, window: Window, limit: int) -> Grouping:
    rows = sorted(analytics.node_hours(query, by, **window), key=lambda row: -(row.busy + row.idle))
    others = rows[limit:]
    return Grouping(by, rows[:limit], len(others), sum(row.busy for row in others))
