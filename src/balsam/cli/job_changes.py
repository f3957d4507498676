"""`balsam job modify`, `balsam job retry` and `balsam job rm`: what its owner changes of jobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from balsam.api import App, Job, JobState
from balsam.cli.app_parameters import parameter_values
from balsam.cli.completion_values import job_states
from balsam.cli.job_choice import (
    JobChoice,
    confirm_change,
    delete_jobs,
    job_filters,
    removal_question,
    waiting_children,
)
from balsam.cli.options import Word, confirm, counted, member, pairs, tags_of
from balsam.core.states import ParentsMust, retried
from balsam.schemas.json_tree import NotJson, as_tree
from balsam.sdk import parameters

F = TypeVar("F", bound=Callable[..., Any])


_SET = (
    click.option(
        *("--set-tag", "set_tags"), multiple=True, metavar="KEY=VALUE", help="A tag to set; others stay."
    ),
    click.option(
        "--unset-tag", "unset_tags", type=Word(), multiple=True, metavar="KEY", help="A tag to remove."
    ),
    click.option("-s", "--state", shell_complete=job_states, help="The state to force the jobs into."),
    click.option("--set-workdir", "workdir", type=Word(), help="Folder below the site's data folder."),
    click.option(
        *("-p", "--param", "params"),
        multiple=True,
        metavar="KEY=VALUE",
        help="A parameter of the app to set, as in `job create`; others stay.",
    ),
    click.option("--data", metavar="JSON", help="What the job's data are to be, such as '{\"loss\": 0.5}'."),
    click.option("-n", "--num-nodes", type=int),
    click.option("-rpn", "--ranks-per-node", type=int),
    click.option("-tpr", "--threads-per-rank", type=int),
    click.option("-tpc", "--threads-per-core", type=int),
    click.option("-g", "--gpus-per-rank", type=float),
    click.option("-npc", "--node-packing-count", type=int, help="Jobs per node."),
    click.option("--mem-mb-per-rank", type=int, help="MB of memory; 0: not said."),
    click.option(
        *("-lp", "--launch-param", "launch_params"),
        multiple=True,
        metavar="KEY=VALUE",
        help="All are replaced.",
    ),
    click.option("--wall-time-min", type=int, help="0: unknown."),
    click.option("--priority", type=int, help="Higher ones run first."),
    click.option(
        "--parents-must",
        type=click.Choice([one.value for one in ParentsMust]),
        help="finish: a parent that FAILED keeps the job; end: it does not.",
    ),
    click.option("--max-restarts", type=int, help="Runs that may follow the first."),
)


def _settings(command: F) -> F:
    wrapped: Any = command
    for option in reversed(_SET):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Change:
    """What is to be set of each chosen job: `fields` as they are, tags and parameters beside those it has."""

    fields: Mapping[str, Any]
    set_tags: Mapping[str, str]
    unset_tags: Collection[str]
    params: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.fields or self.set_tags or self.unset_tags or self.params)

    def apply(self, job: Job, apps: Mapping[int, App]) -> None:
        """Sets it, in this process only; raises click.ClickException naming what the job can't take."""
        try:
            if self.set_tags or self.unset_tags:
                kept = {key: value for key, value in job.tags.items() if key not in self.unset_tags}
                job.tags = {**kept, **self.set_tags}
            if self.params:
                app = apps[job.app_id]
                given = {**job.get_parameters(), **parameter_values(app, self.params)}
                parameters.check(app.name, given, app.parameters)
                job.set_parameters(given)
            for name, value in self.fields.items():
                setattr(job, name, value)
        except (TypeError, ValueError) as exc:
            raise click.ClickException(f"job {job.id}: {exc}") from exc


def _change(given: Mapping[str, Any]) -> Change:
    fields = {name: value for name, value in given.items() if value is not None and value != ()}
    set_tags = tags_of(fields.pop("set_tags", ()), "--set-tag")
    unset_tags = fields.pop("unset_tags", ())
    params = pairs(fields.pop("params", ()), "--param")
    if "state" in fields:
        fields["state"] = member(JobState, fields["state"], "--state")
    if "launch_params" in fields:
        fields["launch_params"] = pairs(fields["launch_params"], "--launch-param")
    if "data" in fields:
        fields["data"] = _data(fields["data"])
    return Change(fields, set_tags, unset_tags, params)


def _data(text: str) -> dict[str, Any]:
    try:
        found = as_tree(json.loads(text))
    except NotJson as exc:
        raise click.BadParameter(f"data{exc}", param_hint="--data") from exc
    except ValueError as exc:
        raise click.BadParameter(f"this is no JSON: {exc}", param_hint="--data") from exc
    if not isinstance(found, dict):
        raise click.BadParameter('a JSON object is needed, such as {"loss": 0.5}', param_hint="--data")
    return found


@click.command()
@job_filters(taken=("-s", "--state"), changes=True)
@_settings
def modify(choice: JobChoice, yes: bool, **given: Any) -> None:
    """Change fields, tags, parameters or state of jobs.

    Here -s says what state is set: jobs are chosen by state with --in-state.
    """
    choice.require(
        "Give ids, --tag, --in-state, --exclude-state, --workdir, --app, --batch-job, --parent, "
        "--failure, --site or --all."
    )
    change = _change(given)
    if not change:
        raise click.UsageError("Nothing to change: give --set-tag, --state or another field to set.")
    jobs = choice.jobs()
    if not jobs:
        click.echo("No such jobs.")
        return
    ids = {one.app_id for one in jobs} if change.params else set()
    apps = {one.id: one for one in App.objects.filter(id=ids)}
    for one in jobs:
        change.apply(one, apps)
    confirm_change("Change", jobs, choice, yes)
    Job.objects.bulk_update(jobs)
    click.echo(f"Changed {counted(len(jobs), 'job')}.")


@click.command()
@job_filters(changes=True)
def retry(choice: JobChoice, yes: bool) -> None:
    """Run failed jobs once more; those that have not failed are left as they are.

    A job that has run before runs anew in its workdir. One that failed before its first run begins again
    with waiting for its parents.
    """
    choice.require()
    jobs = choice.jobs()
    failed = [one for one in jobs if one.state is JobState.failed]
    if failed:
        confirm_change("Retry", failed, choice, yes)
        retry_jobs(failed)
    others = len(jobs) - len(failed)
    click.echo(f"Retried {counted(len(failed), 'job')}.")
    if others and choice.is_by_id_only:
        click.echo(f"{counted(others, 'job')} had not failed.")


def retry_jobs(failed: list[Job]) -> None:
    """Sends failed jobs back to where they can run from."""
    for one in failed:
        one.state = retried(one.num_runs)
    Job.objects.bulk_update(failed)


@click.command()
@job_filters(changes=True)
def rm(choice: JobChoice, yes: bool) -> None:
    """Remove jobs and their history."""
    choice.require()
    jobs = choice.jobs()
    if not jobs:
        click.echo("No such jobs.")
        return
    confirm(removal_question(jobs, waiting_children(jobs)), yes)
    delete_jobs(jobs)
    click.echo(f"Removed {counted(len(jobs), 'job')}.")
