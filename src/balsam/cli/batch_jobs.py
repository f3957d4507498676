"""`balsam queue`: ask a machine's batch queue for nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from balsam.api import BatchJob, BatchJobPartition, JobMode, Site
from balsam.cli.connection import connect
from balsam.cli.job_choice import no_batch_jobs
from balsam.cli.listing import FORMED, Listing, Row, View, json_option, listing_options, one_json
from balsam.cli.options import NoTerminal, can_ask, counted, pairs, refuse_idle, site_option, tags_of
from balsam.cli.site_selector import one_site, selected_sites
from balsam.cli.table import render_record
from balsam.cli.watching import Shown, watch
from balsam.cli.why import queue_why, reasons_of_batch_jobs
from balsam.client.errors import NotFoundError, ServerRefused
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState

NOTE_CHARS = 100
MAIN = (
    *("id", "site", "scheduler_id", "state", "num_nodes", "wall_time_min", "job_mode"),
    *("queue", "project", "filter_tags", "note"),
)
BATCH_JOBS = Listing(
    columns=(
        *MAIN,
        *("why", "site_id", "start_time", "end_time", "cause", "partitions"),
        *("optional_params", "status_info", "scheduler_id_text"),
    ),
    shown=MAIN,
    costly=("why",),
    titles={
        "id": "ID",
        "scheduler_id": "Scheduler ID",
        "num_nodes": "Nodes",
        "wall_time_min": "Minutes",
        "job_mode": "Mode",
        "filter_tags": "Tags",
    },
)


@click.group()
@click.pass_context
def queue(context: click.Context) -> None:
    """Ask a machine's batch queue for nodes."""
    connect(context)


@queue.command()
@click.option("-n", "--num-nodes", type=click.IntRange(min=1), required=True)
@click.option("-t", "--wall-time-min", type=click.IntRange(min=1), required=True)
@click.option("-q", "--queue", "queue_name", required=True)
@click.option("-A", "--project", required=True)
@click.option("-j", "--job-mode", type=click.Choice([mode.value for mode in JobMode]), required=True)
@click.option(
    "-tag", "--tag", "filter_tags", multiple=True, metavar="KEY=VALUE", help="Run only jobs so tagged."
)
@click.option(
    "-p",
    "--part",
    "partitions",
    multiple=True,
    metavar="MODE:NODES[:KEY=VALUE...]",
    help="One launcher each.",
)
@click.option("-x", "--extra-param", "optional_params", multiple=True, metavar="KEY=VALUE")
@json_option
@site_option()
def submit(
    num_nodes: int,
    wall_time_min: int,
    queue_name: str,
    project: str,
    job_mode: str,
    filter_tags: tuple[str, ...],
    partitions: tuple[str, ...],
    optional_params: tuple[str, ...],
    as_json: bool,
    site_selector: str,
) -> None:
    """Ask for an allocation of nodes."""
    site = one_site(site_selector)
    new = BatchJob(
        num_nodes=num_nodes,
        wall_time_min=wall_time_min,
        job_mode=JobMode(job_mode),
        site_id=site.id,
        project=project,
        queue=queue_name,
        filter_tags=tags_of(filter_tags, "--tag"),
        partitions=[partition(text) for text in partitions] or None,
        optional_params=pairs(optional_params, "--extra-param"),
    )
    _validate(new, site)
    new.save()
    size = f"{counted(num_nodes, 'node')} for {counted(wall_time_min, 'minute')}"
    told = f"Added BatchJob id={new.id} at {site.name}: {size}."
    click.echo(one_json(new.display_dict()) if as_json else told)


@queue.command()
@click.option("-h", "--history", is_flag=True, help="Those that have ended, too.")
@click.option("-v", "--verbose", is_flag=True, help="Everything known of each.")
@click.option("--why", "with_why", is_flag=True, help="What keeps or ended each, in a column.")
@click.option("--scheduler_id", "--scheduler-id", type=int, help="The one with this scheduler id.")
@click.option("--cause", help="Those that ended so, or so beginning: 'node failure'.")
@listing_options(BATCH_JOBS, limit=100, watch=True)
@site_option()
def ls(
    view: View,
    history: bool,
    verbose: bool,
    with_why: bool,
    scheduler_id: int | None,
    cause: str | None,
    site_selector: str,
) -> None:
    """List allocations, the newest last."""
    if verbose:
        refuse_idle({*FORMED, "with_why"}, "with --verbose")
    if with_why:
        view = _with_why(view)
    chosen = {k: v for k, v in (("scheduler_id", scheduler_id), ("cause", cause)) if v is not None}
    history = history or bool(chosen)
    watch(view.watch, lambda: _look(view, history, verbose, chosen, site_selector))
    if scheduler_id is not None and not _select(site_selector, scheduler_id=scheduler_id):
        raise click.ClickException(
            f"no BatchJob with the scheduler's id {scheduler_id} (see `balsam queue ls --history`)"
        )


def _look(view: View, history: bool, verbose: bool, chosen: dict[str, Any], site_selector: str) -> Shown:
    filters: dict[str, Any] = {} if history else {"state": sorted(ACTIVE_BATCH_JOB_STATES)}
    filters |= chosen
    found = _select(site_selector, **filters)
    note = "" if found or history else "None is active; those that have ended: --history."
    if view.limit is not None and len(found) > view.limit:
        which = "newest" if view.sort is None else "first"
        note = f"The {view.limit} {which} of {len(found):,}; more with -n NUM."
    if view.sort is None and view.limit is not None:
        found = found[-view.limit :]
    if verbose:
        by_id = {one.id: one for one in found}
        described = [by_id[row["id"]] for row in view.cut(_rows(found, view.names))]
        return Shown("\n\n".join(render_record(list(one.display_dict().items())) for one in described), note)
    return Shown(view.text(view.cut(_rows(found, view.names))), note)


def _with_why(view: View) -> View:
    """A reason says more than a note, and takes its place."""
    if view.columns is not None:
        return view.with_column("why")
    return replace(view, columns=(*(name for name in view.names if name not in ("note", "why")), "why"))


@queue.command()
@click.argument("number", type=int, required=False, metavar="ID")
@click.option("--id", "batch_job_id", type=int, help="ID is the BatchJob's own.")
@click.option("--scheduler-id", "--scheduler_id", type=int, help="ID is the scheduler's.")
@site_option()
def term(number: int | None, batch_job_id: int | None, scheduler_id: int | None, site_selector: str) -> None:
    """End an allocation; of one that has ended already, say so.

    ID is the BatchJob's own, as everywhere, or the scheduler's. Where one BatchJob has the number as its own
    id and another has it as the scheduler's, you are asked which is meant; --id and --scheduler-id tell.
    """
    if [number, batch_job_id, scheduler_id].count(None) != 2:
        raise click.UsageError("Give one of: the BatchJob's ID, --id ID, --scheduler-id ID.")
    own = number if batch_job_id is None else batch_job_id
    schedulers = number if scheduler_id is None else scheduler_id
    known = [] if own is None else _select(site_selector, id=own)
    if schedulers is not None:
        known += _select(site_selector, scheduler_id=schedulers)
    found = readings(known, own, schedulers)
    if not found:
        wanted = [f"{own}"] if own is not None else []
        wanted += [f"with the scheduler's id {schedulers}"] if schedulers is not None else []
        raise click.ClickException(f"no BatchJob {' or '.join(wanted)} (see `balsam queue ls --history`)")
    one = found[0] if len(found) == 1 else _asked_for(found)
    click.echo(_ended(one) if one.state not in ACTIVE_BATCH_JOB_STATES else _end(one))


def readings(known: Sequence[BatchJob], own: int | None, schedulers: int | None) -> list[BatchJob]:
    """The BatchJobs that a number may mean, as their own id or the scheduler's: more than one in doubt.

    Of those that had the same scheduler's id one after the other, only the one that goes on can be meant.
    """
    by_own = [one for one in known if own is not None and one.id == own]
    by_scheduler = [one for one in known if schedulers is not None and one.scheduler_id == schedulers]
    active = [one for one in by_scheduler if one.state in ACTIVE_BATCH_JOB_STATES]
    others = [one for one in active or by_scheduler[-1:] if one.id not in {own.id for own in by_own}]
    return by_own[:1] + others


def _asked_for(found: Sequence[BatchJob]) -> BatchJob:
    """The one of several that the user chooses."""
    sites = {site.id: site.name for site in Site.objects.all()}
    lines = [
        f"BatchJob {one.id} (scheduler id {one.scheduler_id or 'none yet'}, {one.state.value}, "
        f"{counted(one.num_nodes, 'node')}, site {sites.get(one.site_id, '?')})"
        for one in found
    ]
    question = f"This may mean {' or '.join(lines)}."
    if not can_ask():
        raise NoTerminal(f"{question} There is no terminal to ask on: say which with --id ID.")
    click.echo(question)
    ids = [str(one.id) for one in found]
    chosen = click.prompt("Which BatchJob is to end?", type=click.Choice(ids))
    return found[ids.index(chosen)]


@queue.command()
@click.argument("batch_job_id", type=int, metavar="ID")
def drain(batch_job_id: int) -> None:
    """Let an allocation end after the jobs that run: its launchers start nothing more."""
    try:
        told = BatchJob.objects.get(id=batch_job_id).drain()
    except (BatchJob.DoesNotExist, NotFoundError) as exc:
        raise no_batch_jobs([batch_job_id]) from exc
    answered = told.launchers - len(told.silent)
    click.echo(
        f"BatchJob {batch_job_id}: {counted(answered, 'launcher')} will end after the runs that go on."
    )
    for sentence in told.silent:
        click.echo(f"Not yet: {sentence}.")


queue.add_command(queue_why)


def _end(one: BatchJob) -> str:
    """Asks for the end of an allocation; what came of it."""
    one.state = BatchJobState.pending_deletion
    try:
        one.save()
    except ServerRefused:
        one.refresh_from_db()
        if one.state in ACTIVE_BATCH_JOB_STATES:
            raise
        return _ended(one)
    return f"BatchJob {one.id} will be ended by its site's agent."


def _ended(one: BatchJob) -> str:
    return f"BatchJob {one.id} has ended already ({one.state.value})."


def partition(text: str) -> BatchJobPartition:
    """From `mpi:2` or `serial:1:lane=a:kind=b`; raises click.BadParameter."""
    mode, *rest = text.split(":")
    if mode not in [one.value for one in JobMode] or not rest or not rest[0].isdigit():
        raise click.BadParameter(f"{text!r} is not MODE:NODES[:KEY=VALUE...]", param_hint="--part")
    return BatchJobPartition(
        job_mode=JobMode(mode), num_nodes=int(rest[0]), filter_tags=pairs(rest[1:], "--part")
    )


def _validate(batch_job: BatchJob, site: Site) -> None:
    if not site.allowed_queues:
        return  # The agent has not told yet what the site takes; it will judge the BatchJob itself.
    try:
        batch_job.validate(site.allowed_queues, site.allowed_projects, site.optional_batch_job_params)
    except ValueError as exc:
        raise click.ClickException(f"{site.name} does not take this: {exc}") from exc


def _select(site_selector: str, **filters: Any) -> list[BatchJob]:
    sites = selected_sites(site_selector)
    if sites is not None:
        filters["site_id"] = sites
    query = BatchJob.objects.filter(**filters) if filters else BatchJob.objects.all()
    return sorted(query, key=lambda one: one.id or 0)


def _rows(found: list[BatchJob], names: Sequence[str]) -> list[Row]:
    sites = {site.id: site.name for site in Site.objects.all()} if found and "site" in names else {}
    reasons = reasons_of_batch_jobs([one.id for one in found]) if "why" in names else {}
    return [
        {
            **one.display_dict(),
            "site": sites.get(one.site_id, "?"),
            "note": _note(one),
            "why": reasons.get(one.id) or _note(one),
        }
        for one in found
    ]


def _end_note(one: BatchJob) -> str | None:
    """The cause, and for an end that nobody expected the last lines of its output."""
    error, cause = one.status_info.get("error"), one.cause
    if not error or not cause or error in cause:
        return cause or error
    return f"{cause}: {error}"


def _note(one: BatchJob) -> str:
    """What went wrong or ended it, in one line; first what its launchers note of their reports."""
    info = one.status_info
    told = [info.get("spool"), info.get("refused"), info.get("scheduler"), info.get("deletion")]
    if one.state in ACTIVE_BATCH_JOB_STATES:
        told += [info.get("waiting"), info.get("never_starts"), info.get("reason"), info.get("missing")]
        told.append(f"expected to start {info['expected_start']}" if "expected_start" in info else None)
    else:
        told.append(_end_note(one))
    text = " ".join("; ".join(note for note in told if note).split())
    return text if len(text) <= NOTE_CHARS else f"{text[: NOTE_CHARS - 4]} ..."
