"""Many events as columns, beside the same events as objects."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import islice
from typing import Any

from balsam.api import EventLog
from benchmarks import bulk
from benchmarks.report import Row, less_is_better

COLUMNS_SEC = 4.0
SOME = ("id", "job_id", "timestamp", "to_state")


def measure(prefix: str, count: int) -> list[Row]:
    """Seconds for `count` events, the newest; the reference is the loop over objects."""
    query = EventLog.objects.all()[:count]
    objects = bulk.timed(lambda: _read_objects(count))

    def row(what: str, act: Callable[[], Any], target: float | None = None) -> Row:
        found: list[Any] = []
        took = bulk.timed(lambda: found.append(act()))
        _check(what, found[0], count)
        return less_is_better(f"{prefix}{count:,} as {what}", took, "s", objects, target)

    rows = [
        less_is_better(f"{prefix}{count:,} as objects", objects, "s", None, None),
        row("to_columns()", query.to_columns, COLUMNS_SEC),
        row(f"to_columns{SOME}", lambda: query.to_columns(*SOME), COLUMNS_SEC),
    ]
    makers = {"pandas": query.to_pandas, "polars": query.to_polars, "pyarrow": query.to_arrow}
    for package, make in makers.items():
        if importlib.util.find_spec(package):
            name = make.__name__
            rows.append(row(f"{name}()", make))
            rows.append(row(f"{name}{SOME}", lambda make=make: make(*SOME)))  # type: ignore[misc]
    return rows


def _read_objects(count: int) -> None:
    read = [
        (event.id, event.job_id, event.timestamp, event.from_state, event.to_state, event.data)
        for event in islice(EventLog.objects.all().iterator(), count)
    ]
    assert len(read) == count


def _check(what: str, found: Any, count: int) -> None:
    length = len(found["id"])
    if length != count:
        raise SystemExit(f"{what} gave {length} events instead of {count}")
