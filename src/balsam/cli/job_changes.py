"""`balsam job modify`, `balsam job retry` and `balsam job rm`: what its owner changes of jobs."""

from __future__ import annotations

import click

from balsam.api import Job, JobState
from balsam.cli.completion_values import job_states
from balsam.cli.job_choice import (
    JobChoice,
    confirm_change,
    delete_jobs,
    job_filters,
    removal_question,
    waiting_children,
)
from balsam.cli.options import confirm, counted, member, pairs


@click.command()
@job_filters(taken=("-t", "--tag", "-s", "--state"), changes=True)
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tags to set.")
@click.option("-s", "--state", shell_complete=job_states, help="The state to force the jobs into.")
def modify(choice: JobChoice, yes: bool, tags: tuple[str, ...], state: str | None) -> None:
    """Change tags or state of jobs.

    Here -t and -s say what is set: jobs are chosen by tag and state with --with-tag and --in-state.
    """
    choice.require(
        "Give ids, --with-tag, --in-state, --exclude-state, --workdir, --app, --batch-job, --parent or --all."
    )
    if not tags and not state:
        raise click.UsageError("Nothing to change: give --tag or --state.")
    new_tags = pairs(tags, "--tag")
    new_state = member(JobState, state, "--state") if state else None
    jobs = choice.jobs()
    if not jobs:
        click.echo("No such jobs.")
        return
    confirm_change("Change", jobs, choice, yes)
    for one in jobs:
        one.tags = {**one.tags, **new_tags}
        if new_state is not None:
            one.state = new_state
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
        one.state = JobState.restart_ready if one.num_runs else JobState.awaiting_parents
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
