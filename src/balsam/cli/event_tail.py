"""`balsam event tail`: the newest events, and those that follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import click
import orjson

from balsam.api import EventLog, JobState
from balsam.cli.options import member, pairs
from balsam.cli.printable import printable
from balsam.sdk.events import EventLogQuery

DEFAULT_NUM = 10
MAX_DATA_CHARS = 200


@click.command()
@click.option("--id", "event_id", type=int, multiple=True, help="Events with these ids.")
@click.option("-j", "--job-id", type=int, multiple=True, help="Events of these jobs.")
@click.option("-b", "--batch-job-id", type=int, help="Events that belong to this BatchJob.")
@click.option("--scheduler-id", type=int, help="The same by the scheduler's id.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Events of jobs so tagged.")
@click.option("--data", multiple=True, metavar="KEY=VALUE", help="Events whose data hold this.")
@click.option("--before", type=click.DateTime(), help="Up to this time (UTC).")
@click.option("--after", type=click.DateTime(), help="From this time on (UTC).")
@click.option("--from-state", help="Moves out of this state.")
@click.option("--to-state", help="Moves into this state.")
@click.option("-n", "--num", type=click.IntRange(min=0), default=DEFAULT_NUM, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on each line.")
def tail(num: int, follow: bool, as_json: bool, **options: Any) -> None:
    """Show the newest events, oldest of them first; with -f also those that follow, as they happen.

    -f outlives cuts of the network and restarts of the server: no event is left out or shown twice.
    """
    query = EventLog.objects.filter(**_filters(**options))
    text_of = _json_line if as_json else _line
    for event in _events(query, num, follow):
        click.echo(text_of(event))


def _filters(
    event_id: tuple[int, ...],
    job_id: tuple[int, ...],
    batch_job_id: int | None,
    scheduler_id: int | None,
    tags: tuple[str, ...],
    data: tuple[str, ...],
    before: datetime | None,
    after: datetime | None,
    from_state: str | None,
    to_state: str | None,
) -> Any:
    filters: dict[str, Any] = {
        "id": list(event_id),
        "job_id": list(job_id),
        "batch_job_id": batch_job_id,
        "scheduler_id": scheduler_id,
        "tags": pairs(tags, "--tag"),
        "data": pairs(data, "--data"),
        "timestamp_before": before,
        "timestamp_after": after,
        "from_state": from_state and member(JobState, from_state, "--from-state"),
        "to_state": to_state and member(JobState, to_state, "--to-state"),
    }
    return {name: value for name, value in filters.items() if value}


def _events(query: EventLogQuery, num: int, follow: bool) -> Iterator[EventLog]:
    if follow:
        return query.stream(last=num)
    newest: Iterable[EventLog] = query.order_by("-timestamp")[:num] if num else ()
    return iter(sorted(newest, key=lambda one: one.id))


def _line(event: EventLog) -> str:
    time = event.timestamp.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    data = " ".join(" ".join(f"{key}={value}" for key, value in event.data.items()).split())
    moved = f"{event.from_state:>16} -> {event.to_state:<16}"
    return printable(f"{time}  job {event.job_id:<8} {moved} {data[:MAX_DATA_CHARS]}".rstrip())


def _json_line(event: EventLog) -> str:
    return orjson.dumps(event.display_dict()).decode()
