"""A report as data: everything as JSON, and the table of attempts as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Protocol

from balsam.report.campaign import Campaign
from balsam.schemas.analytics import Attempt
from balsam.schemas.types import Wire


class Writes(Protocol):
    def write(self, text: str, /) -> object: ...


COLUMNS = tuple(Attempt.model_fields)


def as_json(campaign: Campaign) -> str:
    """Everything, with times as ISO text and series as objects of `times` and `values`."""
    return json.dumps(_plain(campaign), indent=1, default=_text, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Campaign):
        return {**_fields(value), "num_attempts": value.num_attempts}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Wire):
        return value.model_dump()
    if isinstance(value, tuple):
        times, values = value
        return {"times": times, "values": values}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a report holds no {type(value).__name__}")


def write_csv(attempts: Iterable[Attempt], file: Writes) -> None:
    """A header, and one row for each attempt as it comes; lists and tags are JSON in their column."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_row, attempts))


def _row(one: Attempt) -> Iterator[object]:
    for name in COLUMNS:
        value = getattr(one, name)
        yield json.dumps(value) if isinstance(value, list | dict) else _cell(value)


def _cell(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
