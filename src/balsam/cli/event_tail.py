"""`balsam event tail`: the newest events, and those that follow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import click

from balsam.api import EventLog
from balsam.cli.event_choice import event_filters, refuse_strangers
from balsam.cli.printable import printable
from balsam.report.words import cut
from balsam.sdk.events import EventLogQuery

DEFAULT_NUM = 10
MAX_DATA_CHARS = 200


@click.command()
@event_filters
@click.option("-n", "--num", type=click.IntRange(min=0), default=DEFAULT_NUM, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on each line.")
def tail(query: EventLogQuery, num: int, follow: bool, as_json: bool) -> None:
    """Show the newest events, oldest of them first; with -f also those that follow, as they happen.

    -f outlives cuts of the network and restarts of the server: no event is left out or shown twice.
    """
    refuse_strangers(query)
    text_of = _json_line if as_json else _line
    for event in _events(query, num, follow):
        click.echo(text_of(event))


def _events(query: EventLogQuery, num: int, follow: bool) -> Iterator[EventLog]:
    if follow:
        return query.stream(last=num)
    newest: Iterable[EventLog] = query.order_by("-timestamp")[:num] if num else ()
    return iter(sorted(newest, key=lambda one: one.id))


def _line(event: EventLog) -> str:
    time = event.timestamp.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    data = " ".join(" ".join(f"{key}={value}" for key, value in event.data.items()).split())
    moved = f"{event.from_state:>16} -> {event.to_state:<16}"
    return printable(f"{time}  job {event.job_id:<8} {moved} {cut(data, MAX_DATA_CHARS)}".rstrip())


def _json_line(event: EventLog) -> str:
    # In ASCII, for a terminal obeys some control characters beyond it; json leaves only DEL, which none does.
    return json.dumps(event.display_dict(), default=str)
