"""Which jobs a command acts on: one grammar of filters for every command about jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import click

from balsam.api import BatchJob, Job, JobState
from balsam.cli.app_choice import app_ids_of
from balsam.cli.completion_values import app_names, job_states
from balsam.cli.moment import Moment
from balsam.cli.options import Word, confirm, counted, ids_of, member, site_option, tags_of, words_of
from balsam.cli.printable import printable
from balsam.cli.site_selector import selected_sites
from balsam.core.states import DONE_STATES
from balsam.sdk.jobs import JobQuery
from balsam.sdk.query import IDS_PER_REQUEST, cut

F = TypeVar("F", bound=Callable[..., Any])
WHICH = (
    "Give ids, --tag, --state, --exclude-state, --workdir, --app, --batch-job, --parent, --failure, --site "
    "or --all."
)


@dataclass(frozen=True)
class JobChoice:
    """The jobs that were chosen. `is_narrowed`: by anything; `told`: how, in words."""

    ids: list[int]
    filters: dict[str, Any]
    is_narrowed: bool
    everything: bool = False
    told: Mapping[str, str] = field(default_factory=dict)

    def query(self, **more: Any) -> JobQuery:
        """The chosen jobs, or those of them that `more` filters choose as well."""
        return Job.objects.filter(**{**self.filters, **more})

    @property
    def is_by_id_only(self) -> bool:
        """Whether every job was named: then it is clear what is changed."""
        return bool(self.ids) and set(self.filters) == {"id"}

    def require(self, flags: str = WHICH) -> None:
        """Raises click.UsageError where a command that changes jobs was not told which."""
        if not (self.is_narrowed or self.everything):
            raise click.UsageError(f"Which jobs? {flags}")
        if self.everything and self.filters.keys() - {"site_id"}:
            raise click.UsageError("Choose one of --all and the filters other than --site.")

    def jobs(self) -> list[Job]:
        """All of them; raises click.ClickException naming ids that are not there."""
        found = list(self.query())
        if self.is_by_id_only:
            refuse_unknown(self.ids, found)
        elif not found:
            self.refuse_strangers()
        return found

    def refuse_strangers(self) -> None:
        """Raises click.ClickException naming ids of jobs that are not there; and, where no job is chosen, of
        BatchJobs and parents.
        """
        if missing := unknown_ids(self.ids):
            raise no_jobs(missing)
        batch_jobs, parents = self.filters.get("batch_job_id", []), self.filters.get("parent_id", [])
        if not (batch_jobs or parents) or self.query().first() is not None:
            return  # what was deleted may still be named by jobs that are there
        if missing := unknown_batch_jobs(batch_jobs):
            raise no_batch_jobs(missing)
        if missing := unknown_ids(parents):
            raise no_jobs(missing)


def job_filters(*, taken: Sequence[str] = (), changes: bool = False) -> Callable[[F], F]:
    """The filters as options and arguments; the command gets a `choice`.

    `taken`: flags that mean something else there; the long forms `--with-tag` and `--in-state` are
    the same everywhere. `changes`: with `--all` and `-y`; the command gets `yes`, too.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def called(**given: Any) -> Any:
            chosen = {name: given.pop(f"chosen_{name}") for name in _NAMES}
            return command(choice=_choice(**chosen, everything=given.pop("everything", False)), **given)

        wrapped: Any = called
        for option in reversed(_options(set(taken), changes)):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorate


_NAMES = (
    *("words", "ids", "tags", "states", "excluded", "workdir", "apps"),
    *("batch_jobs", "parents", "failure", "after", "before", "sites"),
)


def _options(taken: set[str], changes: bool) -> list[Callable[[Any], Any]]:
    def flags(*names: str) -> list[str]:
        return [name for name in names if name not in taken]

    options = [
        click.argument("chosen_words", nargs=-1, metavar="[ID]..."),
        click.option("-i", "--id", "chosen_ids", multiple=True, metavar="ID[,ID...]", help="These jobs."),
        click.option(
            *flags("-t", "--tag", "--with-tag"),
            "chosen_tags",
            multiple=True,
            metavar="KEY=VALUE",
            help="Only jobs with this tag.",
        ),
        click.option(
            *flags("-s", "--state", "--in-state"),
            "chosen_states",
            multiple=True,
            metavar="STATE[,STATE...]",
            shell_complete=job_states,
            help="Only jobs in one of these states.",
        ),
        click.option(
            *("-ns", "--exclude-state", "chosen_excluded"),
            multiple=True,
            metavar="STATE[,STATE...]",
            shell_complete=job_states,
            help="Only jobs in none of these states.",
        ),
        click.option(
            *("-w", "--workdir", "chosen_workdir"),
            type=Word(),
            help="Only jobs whose workdir contains this.",
        ),
        click.option(
            *("-a", "--app", "chosen_apps"),
            metavar="APP[,APP...]",
            shell_complete=app_names,
            help="Only jobs of these apps (names or ids).",
        ),
        click.option(
            *("-b", "--batch-job", "chosen_batch_jobs"),
            multiple=True,
            metavar="ID[,ID...]",
            help="Only jobs that ran in these BatchJobs last.",
        ),
        click.option(
            "--parent",
            "chosen_parents",
            multiple=True,
            metavar="ID[,ID...]",
            help="Only children of these jobs.",
        ),
        click.option(
            "--failure",
            "chosen_failure",
            type=Word(),
            metavar="SIGNATURE",
            help="Only jobs with a run that failed so, as `balsam job why` and reports name it.",
        ),
        click.option(
            "--updated-after",
            "chosen_after",
            type=Moment(),
            metavar="TIME",
            help="Only jobs changed since: 2026-01-31T12:00 (UTC), 12h, 7d.",
        ),
        click.option(
            "--updated-before",
            "chosen_before",
            type=Moment(),
            metavar="TIME",
            help="Only jobs not changed since.",
        ),
    ]
    if changes:
        options += [
            click.option("--all", "everything", is_flag=True, help="Every job of the selected sites."),
            click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        ]
    return [*options, site_option(variable="chosen_sites")]


def _choice(
    *,
    words: Sequence[str],
    ids: Sequence[str],
    tags: Sequence[str],
    states: Sequence[str],
    excluded: Sequence[str],
    workdir: str | None,
    apps: str | None,
    batch_jobs: Sequence[str],
    parents: Sequence[str],
    failure: str | None,
    after: datetime | None,
    before: datetime | None,
    sites: str,
    everything: bool,
) -> JobChoice:
    """Several values of one filter: any of them; several filters, or tags: all of them."""
    named = list(dict.fromkeys([*ids_of(words, "ID"), *ids_of(ids)]))
    filters: dict[str, Any] = {
        "id": named,
        "tags": tags_of(tags, "--tag"),
        "state": _states(states, excluded),
        "workdir__contains": workdir,
        "batch_job_id": ids_of(batch_jobs, "--batch-job"),
        "parent_id": ids_of(parents, "--parent"),
        "failure": failure,
        "last_update_after": after,
        "last_update_before": before,
    }
    filters = {name: value for name, value in filters.items() if value or name == "state"}
    if filters["state"] is None:
        del filters["state"]
    if apps is not None:
        filters["app_id"] = [
            app_id for word in words_of([apps], "--app") for app_id in app_ids_of(word, sites)
        ]
    # Naming sites is asking for their jobs; `--site all` is the default's long form.
    is_narrowed = bool(filters) or sites not in ("", "all")
    told: dict[str, Sequence[Any]] = {
        "job": named,
        **{f"tag {key}": [value] for key, value in tags_of(tags, "--tag").items()},
        "state": states,
        "state not": excluded,
        "workdir contains": [workdir],
        "app": [apps],
        "BatchJob": batch_jobs,
        "parent": parents,
        "failed with": [failure],
        "changed since": [after],
        "not changed since": [before],
        "site": [sites],
    }
    # Jobs that are named by id are found wherever they are.
    at = selected_sites(sites) if sites or not named else None
    if at is not None:
        filters["site_id"] = at
    texts = {name: ", ".join(str(one) for one in values if one) for name, values in told.items()}
    told_of = {name: text for name, text in texts.items() if text}
    return JobChoice(named, filters, is_narrowed, everything, told_of)


def _states(wanted: Sequence[str], excluded: Sequence[str]) -> list[JobState] | None:
    """The states that are left; None for all, an empty list where they exclude each other."""
    if not wanted and not excluded:
        return None
    chosen = _members(wanted, "--state") or list(JobState)
    return [state for state in chosen if state not in _members(excluded, "--exclude-state")]


def _members(texts: Sequence[str], flag: str) -> list[JobState]:
    return [member(JobState, word, flag) for word in words_of(texts, flag)]


def refuse_unknown(job_ids: Sequence[int], jobs: Sequence[Job]) -> None:
    """Raises click.ClickException naming those of the ids that are not among the jobs."""
    missing = sorted(set(job_ids) - {one.id for one in jobs})
    if missing:
        raise no_jobs(missing)


def unknown_ids(job_ids: Sequence[int]) -> list[int]:
    """Those of these ids of which there is no job, in order."""
    known = {one.id for ids in cut(list(job_ids), IDS_PER_REQUEST) for one in Job.objects.filter(id=ids)}
    return sorted(set(job_ids) - known) if job_ids else []


def no_jobs(ids: Sequence[int]) -> click.ClickException:
    return click.ClickException(f"no job {', '.join(map(str, ids))} (see `balsam job ls`)")


def unknown_batch_jobs(ids: Sequence[int]) -> list[int]:
    """Those of these ids of which there is no BatchJob, in order."""
    known = {one.id for part in cut(list(ids), IDS_PER_REQUEST) for one in BatchJob.objects.filter(id=part)}
    return sorted(set(ids) - known)


def no_batch_jobs(ids: Sequence[int]) -> click.ClickException:
    return click.ClickException(f"no BatchJob {', '.join(map(str, ids))} (see `balsam queue ls --history`)")


def confirm_change(verb: str, jobs: Sequence[Job], choice: JobChoice, yes: bool) -> None:
    """Shows how many jobs are changed and asks, unless each of them was named."""
    if not choice.is_by_id_only:
        confirm(f"{verb} {counted(len(jobs), 'job')}?", yes)


def waiting_children(jobs: list[Job]) -> list[Job]:
    """Jobs that are not among these, have not ended, and have one of these as a parent."""
    ids = {job.id for job in jobs}
    children = {child.id: child for child in Job.objects.filter(parent_id=sorted(ids))}
    return [
        child for id, child in sorted(children.items()) if id not in ids and child.state not in DONE_STATES
    ]


def removal_question(jobs: list[Job], children: list[Job]) -> str:
    """What is asked before jobs are removed, naming those that would wait for ever."""
    question = f"Remove {len(jobs)} jobs?" if len(jobs) != 1 else f"Remove job {jobs[0].id}?"
    if not children:
        return question
    named = ", ".join(printable(f"{one.id} ({one.workdir})") for one in children[:5])
    more = f" and {len(children) - 5} more" if len(children) > 5 else ""
    who = f"Jobs {named}{more} wait" if len(children) > 1 else f"Job {named} waits"
    what = "jobs that are" if len(jobs) != 1 else "a job that is"
    return f"{who} for {what} to be removed and could never run. {question}"


def delete_jobs(jobs: list[Job]) -> None:
    """Removes exactly these jobs, however the filters that chose them would now answer."""
    Job.objects.filter(id=[job.id for job in jobs]).delete()
