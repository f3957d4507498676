"""`balsam job`: create, list, change, explain and remove jobs."""

from __future__ import annotations

from typing import Any

import click

from balsam.api import Job
from balsam.cli.app_choice import one_app
from balsam.cli.app_parameters import parameter_values
from balsam.cli.completion_values import app_names
from balsam.cli.connection import connect
from balsam.cli.errors import called_wrongly
from balsam.cli.job_changes import modify, retry, rm
from balsam.cli.job_control import kill, tail
from balsam.cli.job_listing import ls
from balsam.cli.listing import json_option, one_json
from balsam.cli.options import can_ask, confirm, pairs, site_option, tags_of
from balsam.cli.site_logs import job_logs as logs
from balsam.cli.why import job_why
from balsam.sdk import parameters as app_parameters
from balsam.sdk.context import default_client
from balsam.sdk.same_workdir import IfExists, WorkdirTaken, earlier


@click.group()
@click.pass_context
def job(context: click.Context) -> None:
    """Create, list, change and explain jobs."""
    connect(context)


@job.command()
@click.option("-w", "--workdir", required=True, help="Folder below the site's data folder.")
@click.option("-a", "--app", "app_str", required=True, shell_complete=app_names, help="The app's name or id.")
@click.option("-tag", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the job.")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the app. A command gets the text. A run() gets what the declared type makes of it: "
    "text stays text where text is declared; lists and dicts are JSON, and so is what "
    "nothing is declared of, where it can be.",
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
@click.option(
    *("-s", "--stage-data", "transfer_args"),
    multiple=True,
    metavar="SLOT=LOCATION:PATH",
    help="What a transfer slot of the app is filled from, or goes to.",
)
@click.option(
    "--if-exists",
    type=click.Choice(["warn", "error", "skip", "allow"]),
    default="warn",
    show_default=True,
    help="What to do where there is a job in this workdir: error and skip look for one of the same app.",
)
@click.option("-y", "--yes", "force_create", is_flag=True, help="Do not ask.")
@json_option
@site_option()
def create(
    workdir: str,
    app_str: str,
    tags: tuple[str, ...],
    parameters: tuple[str, ...],
    launch_params: tuple[str, ...],
    parent_ids: tuple[int, ...],
    transfer_args: tuple[str, ...],
    if_exists: IfExists,
    force_create: bool,
    as_json: bool,
    site_selector: str,
    **resources: Any,
) -> None:
    """Create one job."""
    app = one_app(app_str, site_selector)
    given = parameter_values(app, pairs(parameters, "--param"))
    with called_wrongly():
        app_parameters.check(app.name, given, app.parameters)
        new = Job(
            workdir=workdir,
            app_id=app.id,
            tags=tags_of(tags, "--tag"),
            parameters=given,
            launch_params=pairs(launch_params, "--launch-param"),
            parent_ids=set(parent_ids),
            transfers=pairs(transfer_args, "--stage-data"),
            if_exists="allow" if if_exists == "allow" else "warn",  # the rest is looked up before it is asked
            **resources,
        )
    try:
        found = earlier(default_client(), new, app.id, if_exists)
    except WorkdirTaken as exc:
        raise click.ClickException(str(exc)) from exc
    if found is not None:
        told = f"Job id={found.id} ({found.state}) is there already."
        click.echo(one_json(found.display_dict()) if as_json else told)
        return
    if can_ask():
        confirm(f"Create a job of {app.name} in {workdir}?", force_create)
    with called_wrongly():
        new.save()
    click.echo(one_json(new.display_dict()) if as_json else f"Added Job id={new.id} ({new.state}).")


job.add_command(ls)
job.add_command(modify)
job.add_command(retry)
job.add_command(rm)
job.add_command(kill)
job.add_command(tail)
job.add_command(logs)
job.add_command(job_why)
