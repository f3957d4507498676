"""`balsam event`: what happened to jobs, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from balsam.api import EventLog, JobState
from balsam.cli.completion_values import job_states
from balsam.cli.connection import connect
from balsam.cli.listing import Listing, Row, View, listing_options
from balsam.cli.moment import Moment
from balsam.cli.options import member, pairs, site_option
from balsam.cli.site_selector import selected_sites

DEFAULT_LIMIT = 100
EVENTS = Listing(
    columns=(
        "id",
        "job_id",
        "timestamp",
        "from_state",
        "to_state",
        "data",
        "batch_job_id",
        "time",
        "short_data",
    ),
    shown=("id", "job_id", "time", "from_state", "to_state", "short_data"),
    costly=("time", "short_data"),
    sortable=("timestamp",),
    titles={
        "id": "ID",
        "job_id": "Job",
        "time": "Time (UTC)",
        "from_state": "From",
        "to_state": "To",
        "short_data": "Data",
    },
)


@click.group()
@click.pass_context
def event(context: click.Context) -> None:
    """What happened to jobs, and when."""
    connect(context)


@event.command()
@click.option("--id", "event_id", type=int, multiple=True, help="Events with these ids.")
@click.option("-j", "--job-id", type=int, multiple=True, help="Events of these jobs.")
@click.option("-b", "--batch-job-id", type=int, help="Events that belong to this BatchJob.")
@click.option("--scheduler-id", type=int, help="The same by the scheduler's id.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Events of jobs so tagged.")
@click.option("--data", multiple=True, metavar="KEY=VALUE", help="Events whose data hold this.")
@click.option("--before", type=Moment(), metavar="TIME", help="Up to this time.")
@click.option("--after", type=Moment(), metavar="TIME", help="Since: 2026-01-31T12:00 (UTC), 12h, 7d.")
@click.option("--from-state", shell_complete=job_states, help="Moves out of this state.")
@click.option("--to-state", shell_complete=job_states, help="Moves into this state.")
@listing_options(EVENTS, limit=DEFAULT_LIMIT)
@site_option()
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
    view: View,
    site_selector: str,
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
    named = job_id or event_id or batch_job_id or scheduler_id  # they are found wherever they are
    sites = selected_sites(site_selector) if site_selector or not named else None
    if sites is not None:
        filters["site_id"] = sites
    query = EventLog.objects.filter(
        **{name: one for name, one in filters.items() if one or name == "site_id"}
    )
    ordered = query.order_by(view.order("-timestamp"))
    events = list(ordered if view.limit is None else ordered[: view.limit])
    if view.sort is None:
        events.sort(key=lambda one: one.id)
    view.show(event_rows(events))
    if len(events) == view.limit:
        which = "newest" if view.sort is None else "first"
        click.echo(f"The {view.limit} {which}; more with -n NUM.", err=True)


def event_rows(events: Sequence[EventLog]) -> list[Row]:
    """Rows of the listing; times as people read them, in UTC."""
    return [{**one.display_dict(), "time": _clock(one.timestamp), "short_data": _data(one)} for one in events]


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _data(one: EventLog) -> str:
    text = " ".join(f"{key}={value}" for key, value in one.data.items())
    return " ".join(text.split())[:200]
