"""`balsam event`: what happened to jobs, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from balsam.api import EventLog, JobState
from balsam.cli.connection import connect
from balsam.cli.event_tail import tail
from balsam.cli.options import member, pairs
from balsam.cli.table import render

DEFAULT_LIMIT = 100


@click.group()
@click.pass_context
def event(context: click.Context) -> None:
    """What happened to jobs, and when."""
    connect(context)


event.add_command(tail)


@event.command()
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
@click.option("-n", "--num", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True)
def ls(
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
    num: int,
) -> None:
    """List the newest events, oldest of them first."""
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
    query = EventLog.objects.filter(**{name: value for name, value in filters.items() if value})
    events = list(query.order_by("-timestamp")[:num])
    click.echo(render_events(sorted(events, key=lambda one: one.id)))
    if len(events) == num:
        click.echo(f"The {num} newest; more with -n NUM.", err=True)


def render_events(events: list[EventLog]) -> str:
    """A table of events in the order given."""
    rows = [
        (one.id, one.job_id, _clock(one.timestamp), one.from_state, one.to_state, _data(one))
        for one in events
    ]
    return render(["ID", "Job", "Time (UTC)", "From", "To", "Data"], rows)


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _data(one: EventLog) -> str:
    text = " ".join(f"{key}={value}" for key, value in one.data.items())
    return " ".join(text.split())[:200]
