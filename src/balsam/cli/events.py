"""`balsam event`: what happened to jobs, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from balsam.api import EventLog
from balsam.cli.connection import connect
from balsam.cli.event_choice import event_filters, refuse_strangers
from balsam.cli.event_tail import MAX_DATA_CHARS, tail
from balsam.cli.listing import Listing, Row, View, listing_options
from balsam.report.words import cut
from balsam.sdk.events import EventLogQuery

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


event.add_command(tail)


@event.command()
@event_filters
@listing_options(EVENTS, limit=DEFAULT_LIMIT)
def ls(query: EventLogQuery, view: View) -> None:
    """List the newest events, oldest of them first."""
    ordered = query.order_by(view.order("-timestamp"))
    events = list(ordered if view.limit is None else ordered[: view.limit])
    if view.sort is None:
        events.sort(key=lambda one: one.id)
    view.show(event_rows(events))
    if not events:
        refuse_strangers(query)
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
    return cut(" ".join(text.split()), MAX_DATA_CHARS)
