"""The questions that users ask of an event log, each with what it means in plain SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from balsam.api import EventLog
from balsam.core.clock import from_us, to_us
from benchmarks import event_log
from benchmarks.event_log import Log

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Case:
    """`sql`: the filters as a condition; `is_slow`: documented as slow, so without a target."""

    name: str
    sql: str
    filters: dict[str, Any] = field(default_factory=dict)
    order: str = "-timestamp"
    is_slow: bool = False


def newest(name: str) -> Case:
    return Case(name, "true")


def cases(log: Log) -> list[Case]:
    """Of a log that `event_log.fill` made, as its owner sees it."""
    first, last = _ends()
    return [
        newest("all, the newest first"),
        Case("all, the oldest first", "true", order="timestamp"),
        *_of_jobs(log),
        *_of_states(log),
        *_of_windows(first, last),
        *_of_several(log, first, last),
        Case("data", "false", {"data": {"x": "y"}}, is_slow=True),
    ]


def _ends() -> tuple[datetime, datetime]:
    log = EventLog.objects.all()
    oldest, latest = log.order_by("timestamp").first(), log.order_by("-timestamp").first()
    assert oldest is not None and latest is not None
    return oldest.timestamp, latest.timestamp


def _tagged(**tags: str) -> str:
    some = [
        f"SELECT job_id FROM job_tags WHERE owner_id = 1 AND key = '{key}' AND value = '{value}'"
        for key, value in tags.items()
    ]
    return f"job_id IN ({' INTERSECT '.join(some)})"


def _in_batch_job(number: int) -> str:
    first_ran = f"SELECT job_id FROM runs WHERE batch_job_id = {number} AND attempt = 1"
    return f"(batch_job_id = {number} OR batch_job_id IS NULL AND job_id IN ({first_ran}))"


def _by_tags(name: str, **tags: str) -> Case:
    return Case(name, _tagged(**tags), {"tags": tags})


def _of_jobs(log: Log) -> list[Case]:
    job, batch_job = log.middle_job_id, log.batch_job_id
    return [
        Case("one job", f"job_id = {job}", {"job_id": job}),
        Case("one BatchJob", _in_batch_job(batch_job), {"batch_job_id": batch_job}),
        Case("one scheduler_id", _in_batch_job(batch_job), {"scheduler_id": batch_job}),
        Case("a busy site", f"site_id = {log.site_id}", {"site_id": log.site_id}),
        Case("a quiet site", f"site_id = {log.quiet_site_id}", {"site_id": log.quiet_site_id}),
        _by_tags("a tag of a tenth", campaign="c3"),
        _by_tags("a tag of a thousandth", sample="s3"),
        _by_tags("a tag of five jobs", **event_log.PILOT),
        _by_tags("a tag of the oldest hundredth", **event_log.MONTH),
        _by_tags("a tag of the oldest tenth", **event_log.SEASON),
        _by_tags("two tags", campaign="c3", lot="l17"),
        Case(
            "a tag of a tenth, the oldest first",
            _tagged(campaign="c3"),
            {"tags": {"campaign": "c3"}},
            order="timestamp",
        ),
    ]


def _of_states(log: Log) -> list[Case]:
    def into(state: str) -> Case:
        return Case(f"to {state}", f"to_state = '{state}'", {"to_state": state})

    def out_of(state: str) -> Case:
        return Case(f"from {state}", f"from_state = '{state}'", {"from_state": state})

    return [
        into("RUNNING"),
        into("FAILED"),
        into("RUN_TIMEOUT"),
        into("RESTART_READY"),
        out_of("RUNNING"),
        out_of("RUN_ERROR"),
        out_of("RUN_TIMEOUT"),
        out_of("RESTART_READY"),
        Case(
            "from RUNNING to RUN_ERROR",
            "from_state = 'RUNNING' AND to_state = 'RUN_ERROR'",
            {"from_state": "RUNNING", "to_state": "RUN_ERROR"},
        ),
    ]


def _window(name: str, after: datetime, before: datetime, more: str = "", **filters: Any) -> Case:
    sql = f"timestamp >= {to_us(after)} AND timestamp <= {to_us(before)}{more}"
    return Case(name, sql, {"timestamp_after": after, "timestamp_before": before, **filters})


def _of_windows(first: datetime, last: datetime) -> list[Case]:
    middle = from_us((to_us(first) + to_us(last)) // 2)
    return [
        _window("the first day", first, first + DAY),
        _window("the last hour", last - DAY / 24, last),
        _window("two months in the middle", middle, middle + 60 * DAY),
        Case(
            "before the second day", f"timestamp <= {to_us(first + DAY)}", {"timestamp_before": first + DAY}
        ),
    ]


def _of_several(log: Log, first: datetime, last: datetime) -> list[Case]:
    middle = from_us((to_us(first) + to_us(last)) // 2)
    month = (middle, middle + 30 * DAY)
    quiet, batch_job = log.quiet_site_id, log.batch_job_id
    tag = {"campaign": "c3"}
    rare = "RUN_ERROR"
    return [
        _window("to RUNNING in a month", *month, " AND to_state = 'RUNNING'", to_state="RUNNING"),
        _window("from RUNNING in a month", *month, " AND from_state = 'RUNNING'", from_state="RUNNING"),
        _window("a tag of a tenth in a month", *month, f" AND {_tagged(**tag)}", tags=tag),
        _window("a tag of a tenth on the first day", first, first + DAY, f" AND {_tagged(**tag)}", tags=tag),
        _window(
            "a quiet site in the last month", last - 30 * DAY, last, f" AND site_id = {quiet}", site_id=quiet
        ),
        Case(
            "a quiet site, to FAILED",
            f"site_id = {quiet} AND to_state = 'FAILED'",
            {"site_id": quiet, "to_state": "FAILED"},
        ),
        Case(
            "a quiet site, to RUNNING",
            f"site_id = {quiet} AND to_state = 'RUNNING'",
            {"site_id": quiet, "to_state": "RUNNING"},
        ),
        Case(
            "a tag of a tenth, to JOB_FINISHED",
            f"{_tagged(**tag)} AND to_state = 'JOB_FINISHED'",
            {"tags": tag, "to_state": "JOB_FINISHED"},
        ),
        Case(
            f"a tag of a tenth, to {rare}",
            f"{_tagged(**tag)} AND to_state = '{rare}'",
            {"tags": tag, "to_state": rare},
        ),
        Case(
            "a tag of five jobs, to RUNNING",
            f"{_tagged(**event_log.PILOT)} AND to_state = 'RUNNING'",
            {"tags": event_log.PILOT, "to_state": "RUNNING"},
        ),
        Case(
            "one BatchJob, to RUNNING",
            f"{_in_batch_job(batch_job)} AND to_state = 'RUNNING'",
            {"batch_job_id": batch_job, "to_state": "RUNNING"},
        ),
        Case(
            "a quiet site, a tag of a tenth",
            f"site_id = {quiet} AND {_tagged(**tag)}",
            {"site_id": quiet, "tags": tag},
        ),
    ]
