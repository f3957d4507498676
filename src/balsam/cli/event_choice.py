"""Which events a command shows: the same filters for every command about events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from balsam.api import EventLog, JobState
from balsam.cli.completion_values import job_states
from balsam.cli.job_choice import no_batch_jobs, no_jobs, unknown_batch_jobs, unknown_ids
from balsam.cli.moment import Moment
from balsam.cli.options import ids_of, member, site_option, tags_of
from balsam.cli.site_selector import selected_sites
from balsam.sdk.events import EventLogQuery

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--id", "chosen_ids", multiple=True, metavar="ID[,ID...]", help="Events with these ids."),
    click.option(
        *("-j", "--job-id", "chosen_job_ids"),
        multiple=True,
        metavar="ID[,ID...]",
        help="Events of these jobs.",
    ),
    click.option(
        "-b", "--batch-job-id", "chosen_batch_job_id", type=int, help="Events that belong to this BatchJob."
    ),
    click.option("--scheduler-id", "chosen_scheduler_id", type=int, help="The same by the scheduler's id."),
    click.option(
        *("-t", "--tag", "chosen_tags"), multiple=True, metavar="KEY=VALUE", help="Events of jobs so tagged."
    ),
    click.option(
        "--data", "chosen_data", multiple=True, metavar="KEY=VALUE", help="Events whose data hold this."
    ),
    click.option("--before", "chosen_before", type=Moment(), metavar="TIME", help="Up to this time."),
    click.option(
        *("--after", "chosen_after"),
        type=Moment(),
        metavar="TIME",
        help="Since: 2026-01-31T12:00 (UTC), 12h, 7d.",
    ),
    click.option(
        "--from-state", "chosen_from_state", shell_complete=job_states, help="Moves out of this state."
    ),
    click.option("--to-state", "chosen_to_state", shell_complete=job_states, help="Moves into this state."),
    site_option(variable="chosen_sites"),
)
_NAMES = (
    *("ids", "job_ids", "batch_job_id", "scheduler_id", "tags", "data"),
    *("before", "after", "from_state", "to_state", "sites"),
)


def event_filters(command: F) -> F:
    """The filters as options; the command gets a `query`."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        chosen = {name: given.pop(f"chosen_{name}") for name in _NAMES}
        return command(query=_query(**chosen), **given)

    wrapped: Any = called
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _query(
    *,
    ids: Sequence[str],
    job_ids: Sequence[str],
    batch_job_id: int | None,
    scheduler_id: int | None,
    tags: Sequence[str],
    data: Sequence[str],
    before: datetime | None,
    after: datetime | None,
    from_state: str | None,
    to_state: str | None,
    sites: str,
) -> EventLogQuery:
    filters: dict[str, Any] = {
        "id": ids_of(ids),
        "job_id": ids_of(job_ids, "--job-id"),
        "batch_job_id": batch_job_id,
        "scheduler_id": scheduler_id,
        "tags": tags_of(tags, "--tag"),
        "data": tags_of(data, "--data"),
        "timestamp_before": before,
        "timestamp_after": after,
        "from_state": None if from_state is None else member(JobState, from_state, "--from-state"),
        "to_state": None if to_state is None else member(JobState, to_state, "--to-state"),
    }
    filters = {name: value for name, value in filters.items() if value not in (None, [], {})}
    # What is named by a number is found wherever it is.
    is_named = filters.keys() & {"id", "job_id", "batch_job_id", "scheduler_id"}
    at = selected_sites(sites) if sites or not is_named else None
    if at is not None:
        filters["site_id"] = at
    return EventLog.objects.filter(**filters)


def refuse_strangers(query: EventLogQuery) -> None:
    """Raises click.ClickException naming jobs, BatchJobs and events that events were chosen by, if none is
    and these are not there.
    """
    jobs, batch_job, ids = (query.filters.get(name) for name in ("job_id", "batch_job_id", "id"))
    if not (jobs or batch_job or ids) or query.first() is not None:
        return
    if missing := unknown_ids(jobs or []):
        raise no_jobs(missing)
    if missing := unknown_batch_jobs([batch_job] if batch_job else []):
        raise no_batch_jobs(missing)
    if ids:
        raise click.ClickException(f"no event {', '.join(map(str, ids))} is chosen (see `balsam event ls`)")
