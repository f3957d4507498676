"""`balsam job ls`: jobs as a listing, counted by what they have in common, or one job's history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from balsam.api import EventLog, Job, Site
from balsam.cli.events import EVENTS, event_rows
from balsam.cli.job_choice import JobChoice, job_filters, refuse_unknown
from balsam.cli.listing import Form, Listing, Row, View, listing_options
from balsam.cli.options import Word, flag_of, given_options
from balsam.cli.table import render_record
from balsam.cli.watching import Shown, watch
from balsam.cli.why import reasons_of_jobs
from balsam.core.states import DONE_STATES, JobState
from balsam.sdk.apps import App
from balsam.sdk.context import default_client
from balsam.sdk.query import IDS_PER_REQUEST, cut

DEFAULT_LIMIT = 1000
JOBS = Listing(
    columns=(
        *("id", "app", "site", "workdir", "state", "tags", "why", "app_id", "site_id", "batch_job_id"),
        *("session_id", "parent_ids", "num_nodes", "ranks_per_node", "threads_per_rank", "threads_per_core"),
        *("gpus_per_rank", "mem_mb_per_rank", "node_packing_count", "wall_time_min", "launch_params"),
        *("priority", "parents_must", "max_restarts", "num_runs", "return_code", "last_update", "data"),
        *("parameters_json", "pending_file_cleanup"),
    ),
    shown=("id", "app", "site", "workdir", "state", "tags"),
    costly=("why",),
    sortable=("id", "last_update", "state", "workdir"),
    titles={"id": "ID"},
)


@click.command()
@job_filters()
@click.option("--by-state", is_flag=True, help="Count jobs by state.")
@click.option("--by-app", is_flag=True, help="Count jobs by app.")
@click.option("--by-site", is_flag=True, help="Count jobs by site.")
@click.option("--by-tag", type=Word(), metavar="KEY", help="Count jobs by the value of this tag.")
@click.option("-v", "--verbose", is_flag=True, help="Everything known of each job.")
@click.option("--why", "with_why", is_flag=True, help="What keeps each job, in a column.")
@click.option("--history", type=int, metavar="ID", help="What happened to this job, and when.")
@listing_options(JOBS, limit=DEFAULT_LIMIT, watch=True)
def ls(
    choice: JobChoice,
    view: View,
    by_state: bool,
    by_app: bool,
    by_site: bool,
    by_tag: str | None,
    verbose: bool,
    with_why: bool,
    history: int | None,
) -> None:
    """List the newest jobs, the oldest of them first."""
    _refuse_idle_options(click.get_current_context())
    by = _by(by_state, by_app, by_site, by_tag)
    if with_why:
        view = view.with_column("why")
    if history is not None:
        _show_history(history, view)
        return
    if by is not None:
        watch(view.watch, lambda: Shown(_counts(choice, by, view, verbose)))
    else:
        watch(view.watch, lambda: _look(choice, view, verbose))
    choice.refuse_strangers()


# What goes with --history and with counts, beside the choice of jobs; all else would do nothing there.
_WITH_HISTORY = {"history", "as_json", "as_csv"}
_WITH_COUNTS = {"by_state", "by_app", "by_site", "by_tag", "as_json", "as_csv", "watch", "verbose"}


def _refuse_idle_options(context: click.Context) -> None:
    """Raises click.UsageError for an option that was given and does nothing beside another one."""
    given = given_options(context)
    names = {one.name for one in given}
    counts = names & {"by_state", "by_app", "by_site", "by_tag"}
    if "history" in names:
        what, idle = "--history", [one for one in given if one.name not in _WITH_HISTORY]
    elif counts:
        what = "--" + min(counts).replace("_", "-")
        idle = [
            one for one in given if one.name not in _WITH_COUNTS and not str(one.name).startswith("chosen_")
        ]
    else:
        idle = [one for one in given if one.name == "verbose" and names & {"as_json", "as_csv", "columns"}]
        what = "--json, --csv and --columns"
    if idle:
        more = ": for a job's events in another form, balsam event ls -j ID" if what == "--history" else ""
        raise click.UsageError(f"{flag_of(idle[0])} does nothing with {what}{more}.")


def _by(state: bool, app: bool, site: bool, tag: str | None) -> str | None:
    asked = [name for name, given in (("state", state), ("app", app), ("site", site)) if given]
    if tag == "":
        raise click.BadParameter("'' is no tag", param_hint="--by-tag")
    asked += [f"tag:{tag}"] if tag else []
    if len(asked) > 1:
        raise click.UsageError("Choose one of --by-state, --by-app, --by-site and --by-tag.")
    return asked[0] if asked else None


def _look(choice: JobChoice, view: View, verbose: bool) -> Shown:
    query = choice.query().order_by(view.order("-id"))
    jobs = list(query if view.limit is None else query[: view.limit])
    if view.sort is None:
        jobs.reverse()
    note = ""
    if len(jobs) == view.limit:
        which = "newest" if view.sort is None else "first"
        note = f"The {view.limit} {which}; more with -n NUM, counts of all with --by-state."
    if verbose and view.form is Form.TEXT:
        return Shown(_described(jobs), note)
    return Shown(view.text(_rows(jobs, view.names)), note)


def _rows(jobs: Sequence[Job], names: Sequence[str]) -> list[Row]:
    """The jobs' fields, with the names of apps and sites; `why` where it is among the names."""
    apps: dict[int, str] = {}
    sites: dict[int, str] = {}
    if jobs and "app" in names:
        apps = {one.id: one.name for one in App.objects.filter(id=sorted({job.app_id for job in jobs}))}
    if jobs and "site" in names:
        sites = {one.id: one.name for one in Site.objects.all()}
    reasons = reasons_of_jobs([one.id for one in jobs]) if "why" in names else {}
    return [
        {
            **one.display_dict(),
            "app": apps.get(one.app_id, str(one.app_id)),
            "site": sites.get(one.site_id, "?"),
            "why": reasons.get(one.id, ""),
        }
        for one in jobs
    ]


def _described(jobs: Sequence[Job]) -> str:
    reasons = reasons_of_jobs([one.id for one in jobs if one.state not in DONE_STATES])
    versions = _versions_of([one.id for one in jobs if one.num_runs])
    records = []
    for one in jobs:
        fields = list(one.display_dict().items())
        if one.id in versions:
            fields.append(("app_version", versions[one.id]))
        if one.id in reasons:
            fields.append(("why", reasons[one.id]))
        records.append(render_record(fields))
    return "\n\n".join(records)


def _versions_of(ids: list[int]) -> dict[int, int]:
    """Which version of its app the last run of each job ran."""
    parts = (
        default_client().get("/jobs/versions", {"id": part, "limit": len(part)})
        for part in cut(ids, IDS_PER_REQUEST)
    )
    return {row["job_id"]: row["app_version"] for part in parts for row in part}


def _show_history(job_id: int, view: View) -> None:
    events = sorted(EventLog.objects.filter(job_id=job_id), key=lambda one: one.id)
    if not events:
        refuse_unknown((job_id,), list(Job.objects.filter(id=job_id)))
    View(EVENTS, view.form).show(event_rows(events))


def _counts(choice: JobChoice, by: str, view: View, verbose: bool) -> str:
    """A table with a row for each group; of `--by-state` one for each state, and in text their total.

    `verbose`: with states that no job is in.
    """
    counts = choice.query().counts(None if by == "state" else by)
    if by == "state":
        total = {state: sum(of.get(state, 0) for of in counts.values()) for state in JobState}
        rows: list[Row] = [
            {"state": str(state), "jobs": count} for state, count in total.items() if count or verbose
        ]
        if view.form is Form.TEXT:
            rows.append({"state": "total", "jobs": sum(total.values())})
        names = ["state", "jobs"]
    else:
        key = by.partition(":")[2] or by
        states = [state for state in JobState if any(state in of for of in counts.values())]
        rows = [
            {key: group, "jobs": sum(of.values()), **{str(state): of.get(state, 0) for state in states}}
            for group, of in sorted(counts.items(), key=lambda item: (item[0] is None, str(item[0])))
        ]
        names = [key, "jobs", *map(str, states)]
    return _table(names, rows, view)


def _table(names: list[str], rows: list[Row], view: View) -> str:
    titles: dict[str, Any] = {name: name if name.isupper() else name.capitalize() for name in names}
    return View(Listing(columns=tuple(names), shown=tuple(names), titles=titles), view.form).text(rows)
