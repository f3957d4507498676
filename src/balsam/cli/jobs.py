"""`balsam job`: create, list, change, explain and remove jobs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from balsam.api import EventLog, Job, JobState, Site
from balsam.cli.app_choice import one_app
from balsam.cli.app_parameters import parameter_values
from balsam.cli.connection import connect
from balsam.cli.events import render_events
from balsam.cli.job_choice import delete_jobs, job_filters, waiting_children
from balsam.cli.job_control import kill, tail
from balsam.cli.options import confirm, counted, id_option, member, pairs, site_option, tags_text
from balsam.cli.printable import printable
from balsam.cli.table import render, render_record
from balsam.cli.why import job_why, reasons_of_jobs
from balsam.core.states import DONE_STATES
from balsam.sdk import parameters as app_parameters
from balsam.sdk.apps import App

DEFAULT_LIMIT = 1000


@click.group()
@click.pass_context
def job(context: click.Context) -> None:
    """Create, list, change and explain jobs."""
    connect(context)


@job.command()
@click.option("-w", "--workdir", required=True, help="Folder below the site's data folder.")
@click.option("-a", "--app", "app_str", required=True, help="The app's name or id.")
@click.option("-tag", "--tag", "tags", multiple=True, metavar="KEY=VALUE")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the app. A command gets the text. A run() gets what JSON says (3, true, null, "
    """[1, 2], {...}), else the text, as it does for a parameter annotated as str; '"3"' is the text 3.""",
)
@click.option("-n", "--num-nodes", type=int, default=1, show_default=True)
@click.option("-rpn", "--ranks-per-node", type=int, default=1, show_default=True)
@click.option("-tpr", "--threads-per-rank", type=int, default=1, show_default=True)
@click.option("-tpc", "--threads-per-core", type=int, default=1, show_default=True)
@click.option("-g", "--gpus-per-rank", type=float, default=0.0, show_default=True)
@click.option("-npc", "--node-packing-count", type=int, default=1, show_default=True, help="Jobs per node.")
@click.option("-lp", "--launch-param", "launch_params", multiple=True, metavar="KEY=VALUE")
@click.option("-t", "--wall-time-min", type=int, default=0, show_default=True, help="0: unknown.")
@click.option("-pid", "--parent-id", "parent_ids", type=int, multiple=True, help="Runs after these jobs.")
@click.option("-s", "--stage-data", "transfer_args", multiple=True, metavar="SLOT=LOCATION:PATH")
@click.option("-y", "--yes", "force_create", is_flag=True, help="Do not ask.")
@site_option()
def create(
    workdir: str,
    app_str: str,
    tags: tuple[str, ...],
    parameters: tuple[str, ...],
    launch_params: tuple[str, ...],
    parent_ids: tuple[int, ...],
    transfer_args: tuple[str, ...],
    force_create: bool,
    site_selector: str,
    **resources: Any,
) -> None:
    """Create one job."""
    app = one_app(app_str, site_selector)
    given = parameter_values(app, pairs(parameters, "--param"))
    app_parameters.check(app.name, given, app.parameters)
    new = Job(
        workdir=workdir,
        app_id=app.id,
        tags=pairs(tags, "--tag"),
        parameters=given,
        launch_params=pairs(launch_params, "--launch-param"),
        parent_ids=set(parent_ids),
        transfers=pairs(transfer_args, "--stage-data"),
        **resources,
    )
    if sys.stdin.isatty():
        confirm(f"Create a job of {app.name} in {workdir}?", force_create)
    new.save()
    click.echo(f"Created job {new.id} ({new.state}).")


@job.command()
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE")
@click.option("-s", "--state", help="Only jobs in this state.")
@click.option("-ns", "--exclude-state", help="Only jobs not in this state.")
@id_option("--id", help="Only these jobs.")
@click.option("--by-state", is_flag=True, help="Count jobs by state.")
@click.option("-w", "--workdir", help="Only jobs whose workdir contains this.")
@click.option("-a", "--app", "app_str", help="Only jobs of this app (name or id).")
@click.option("-v", "--verbose", is_flag=True, help="Everything known of each job.")
@click.option("--why", "with_why", is_flag=True, help="What keeps each job, in a column.")
@click.option("--history", type=int, metavar="ID", help="What happened to this job, and when.")
@click.option("-n", "--num", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True)
@site_option()
def ls(
    tags: tuple[str, ...],
    state: str | None,
    exclude_state: str | None,
    job_ids: list[int],
    by_state: bool,
    workdir: str | None,
    app_str: str | None,
    verbose: bool,
    with_why: bool,
    history: int | None,
    num: int,
    site_selector: str,
) -> None:
    """List the newest jobs."""
    if history is not None:
        _show_history(history)
        return
    filters = job_filters(job_ids, tags, state, exclude_state, site_selector, workdir, app_str)
    if by_state:
        _show_states(filters)
        return
    jobs = sorted(Job.objects.filter(**filters).order_by("-id")[:num], key=lambda one: one.id or 0)
    click.echo(_describe(jobs) if verbose else _rows(jobs, with_why))
    if len(jobs) == num:
        click.echo(f"The {num} newest; more with -n NUM, counts of all with --by-state.", err=True)


@job.command()
@id_option("-i", "--id", required=True, help="These jobs.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tags to set.")
@click.option("-s", "--state", help="The state to force the jobs into.")
def modify(job_ids: list[int], tags: tuple[str, ...], state: str | None) -> None:
    """Change tags or state of jobs."""
    if not tags and not state:
        raise click.UsageError("Nothing to change: give --tag or --state.")
    jobs = list(Job.objects.filter(id=job_ids))
    _refuse_unknown(job_ids, jobs)
    for one in jobs:
        one.tags = {**one.tags, **pairs(tags, "--tag")}
        if state:
            one.state = member(JobState, state, "--state")
    Job.objects.bulk_update(jobs)
    click.echo(f"Changed {counted(len(jobs), 'job')}.")


@job.command()
@id_option("-i", "--id", help="These jobs.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE")
@click.option("-s", "--state", help="Only jobs in this state.")
@click.option("-ns", "--exclude-state", help="Only jobs not in this state.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--all", "remove_all", is_flag=True, help="Every job of the selected sites.")
@site_option()
def rm(
    job_ids: list[int],
    tags: tuple[str, ...],
    state: str | None,
    exclude_state: str | None,
    yes: bool,
    remove_all: bool,
    site_selector: str,
) -> None:
    """Remove jobs and their history."""
    if not (job_ids or tags or state or exclude_state or remove_all):
        raise click.UsageError("Which jobs? Give --id, --tag, --state, --exclude-state or --all.")
    filters = job_filters(job_ids, tags, state, exclude_state, site_selector)
    jobs = list(Job.objects.filter(**filters))
    _refuse_unknown(job_ids, jobs)
    if not jobs:
        click.echo("No such jobs.")
        return
    confirm(removal_question(jobs, waiting_children(jobs)), yes)
    delete_jobs(jobs)
    click.echo(f"Removed {counted(len(jobs), 'job')}.")


job.add_command(kill)
job.add_command(tail)
job.add_command(job_why)


def removal_question(jobs: list[Job], children: list[Job]) -> str:
    """What is asked before jobs are removed, naming those that would wait for ever."""
    question = f"Remove {len(jobs)} jobs?" if len(jobs) > 1 else f"Remove job {jobs[0].id}?"
    if not children:
        return question
    named = ", ".join(printable(f"{one.id} ({one.workdir})") for one in children[:5])
    more = f" and {len(children) - 5} more" if len(children) > 5 else ""
    return f"Jobs {named}{more} wait for jobs that are to be removed and could never run. {question}"


def _refuse_unknown(job_ids: Iterable[int], jobs: list[Job]) -> None:
    missing = sorted(set(job_ids) - {one.id for one in jobs if one.id is not None})
    if missing:
        raise _no_jobs(missing)


def _no_jobs(ids: list[int]) -> click.ClickException:
    return click.ClickException(f"no job {', '.join(map(str, ids))} (see `balsam job ls`)")


def _show_history(job_id: int) -> None:
    events = sorted(EventLog.objects.filter(job_id=job_id), key=lambda one: one.id)
    if not events:
        _refuse_unknown((job_id,), list(Job.objects.filter(id=job_id)))
    click.echo(render_events(events))


def _show_states(filters: dict[str, Any]) -> None:
    wanted = [filters["state"]] if "state" in filters else list(JobState)
    counts = Counter({state: Job.objects.filter(**{**filters, "state": state}).count() for state in wanted})
    excluded = filters.get("state__ne")
    rows = [(state, count) for state, count in counts.items() if count and state != excluded]
    click.echo(render(["State", "Jobs"], [*rows, ("total", sum(count for _, count in rows))]))


def _rows(jobs: list[Job], with_why: bool) -> str:
    apps = (
        {one.id: one for one in App.objects.filter(id=sorted({job.app_id for job in jobs}))} if jobs else {}
    )
    sites = {one.id: one.name for one in Site.objects.all()} if jobs else {}
    reasons = reasons_of_jobs([one.id for one in jobs]) if with_why else {}
    rows = [
        (
            one.id,
            apps[one.app_id].name if one.app_id in apps else one.app_id,
            sites.get(apps[one.app_id].site_id, "?") if one.app_id in apps else "?",
            one.workdir,
            one.state,
            tags_text(one.tags),
            *[reasons.get(one.id or 0, "")] * with_why,
        )
        for one in jobs
    ]
    return render(["ID", "App", "Site", "Workdir", "State", "Tags", *["Why"] * with_why], rows)


def _describe(jobs: list[Job]) -> str:
    reasons = reasons_of_jobs([one.id for one in jobs if one.state not in DONE_STATES])
    records = []
    for one in jobs:
        fields = list(one.display_dict().items())
        if one.id in reasons:
            fields.append(("why", reasons[one.id]))
        records.append(render_record(fields))
    return "\n\n".join(records)
