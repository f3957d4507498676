"""What the live view's tables hold, and what is typed as a filter: values in, values out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from balsam.api import Job
from balsam.cli.listing import cell
from balsam.cli.live.source import Listed, Told
from balsam.core.plural import counted
from balsam.core.states import DONE_STATES, JobState
from balsam.report.words import cut
from balsam.schemas.overview import OverviewOut

Rows = list[tuple[str, list[str]]]  # a key that stays the row's own, and its cells
SITE_COLUMNS = (
    "Site",
    "Jobs",
    "Waiting",
    "Running",
    "Finished",
    "Failed",
    "Started/min",
    "Finished/min",
    "Failed/min",
    "Agent",
)
ALLOCATION_COLUMNS = (
    "BatchJob",
    "Site",
    "State",
    "Nodes",
    "Mode",
    "Queue",
    "Project",
    "Scheduler ID",
    "Left",
)
FAILURE_COLUMNS = ("Failed", "Site", "Last (UTC)", "Job", "Cause")
JOB_COLUMNS = ("Job", "App", "State", "Workdir", "Tags", "Runs", "Changed (UTC)")
EVENT_COLUMNS = ("Time (UTC)", "From", "To", "Data")
CAUSE_CHARS = 200


def totals(seen: OverviewOut) -> str:
    """One line over all sites."""
    states: dict[str, int] = {}
    for site in seen.sites:
        for state, number in site.jobs_by_state.items():
            states[state] = states.get(state, 0) + number
    jobs = ", ".join(f"{states[state]} {state}" for state in JobState if states.get(state))
    started = sum(site.started_per_min for site in seen.sites)
    finished = sum(site.finished_per_min for site in seen.sites)
    failed = sum(site.failed_per_min for site in seen.sites)
    nodes = sum(one.num_nodes for one in seen.allocations if one.state == "running")
    return (
        f"{counted(sum(states.values()), 'job')}: {jobs or 'none'}\n"
        f"per minute: {started:.0f} started, {finished:.0f} finished, {failed:.0f} failed; "
        f"nodes allocated: {nodes}"
    )


def site_rows(seen: OverviewOut) -> Rows:
    rows = []
    for site in seen.sites:
        of = site.jobs_by_state
        running = of.get(JobState.running, 0)
        finished, failed = of.get(JobState.job_finished, 0), of.get(JobState.failed, 0)
        total = sum(of.values())
        cells = [site.name, total, total - running - finished - failed, running, finished, failed]
        rates = (site.started_per_min, site.finished_per_min, site.failed_per_min)
        health = "works" if site.agent_alive else f"away: {site.health}"
        rows.append((str(site.id), [*map(str, cells), *(f"{rate:.0f}" for rate in rates), health]))
    return rows


def allocation_rows(seen: OverviewOut) -> Rows:
    names = {site.id: site.name for site in seen.sites}
    return [
        (
            str(one.id),
            [
                *(str(one.id), names.get(one.site_id, "?"), one.state, str(one.num_nodes), one.job_mode),
                *(one.queue, one.project, cell(one.scheduler_id), f"{max(0.0, one.minutes_left):.0f} min"),
            ],
        )
        for one in seen.allocations
    ]


def failure_rows(seen: OverviewOut) -> Rows:
    names = {site.id: site.name for site in seen.sites}
    return [
        (
            f"{one.site_id} {one.signature}",
            [
                *(str(one.count), names.get(one.site_id, "?"), clock(one.last), str(one.newest_job_id)),
                cut(cell(one.signature), CAUSE_CHARS),
            ],
        )
        for one in seen.failures
    ]


def job_rows(listed: Listed) -> Rows:
    return [
        (
            str(job.id),
            [
                *(str(job.id), listed.apps.get(job.app_id, "?"), job.state.value, cell(job.workdir)),
                *(cell(job.tags) or "-", str(job.num_runs), clock(job.last_update)),
            ],
        )
        for job in listed.jobs
    ]


def event_rows(told: Told) -> Rows:
    return [
        (str(one.id), [clock(one.timestamp), one.from_state, one.to_state, cut(cell(one.data), CAUSE_CHARS)])
        for one in told.events
    ]


def description(told: Told) -> str:
    """A job in a few lines."""
    job = told.job
    size = (
        f"{counted(job.num_nodes, 'node')} x {counted(job.ranks_per_node, 'rank')}"
        if job.num_nodes > 1
        else (f"{counted(job.ranks_per_node, 'rank')}, {counted(job.node_packing_count, 'job')} on a node")
    )
    lines = [
        f"Job {job.id} of {told.app} at {told.site}: {job.state.value}",
        told.why,
        f"workdir {job.workdir}; tags {cell(job.tags) or '-'}; {size}; {counted(job.num_runs, 'run')}",
    ]
    if job.return_code is not None:
        lines.append(f"return code {job.return_code}")
    if told.has_more_events:
        lines.append(f"the newest {len(told.events)} events; all: balsam job ls --history {job.id}")
    return "\n".join(lines)


def clock(moment: datetime) -> str:
    return f"{moment:%m-%d %H:%M:%S}"


def parsed_filter(text: str) -> dict[str, Any]:
    """Filters of jobs from words: a state's name, `KEY=VALUE` a tag, digits an id, others part of a workdir.

    Several states: any of them. Raises ValueError with a sentence.
    """
    states = {state.value.lower(): state for state in JobState}
    filters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if word.lower() in states:
            filters.setdefault("state", []).append(states[word.lower()])
        elif equals and key:
            tags[key] = value
        elif word.isdecimal():
            filters.setdefault("id", []).append(int(word))
        elif "workdir__contains" in filters:
            raise ValueError(f"two parts of a workdir: {filters['workdir__contains']!r} and {word!r}")
        else:
            filters["workdir__contains"] = word
    return filters | ({"tags": tags} if tags else {})


def may_be_killed(jobs: Iterable[Job]) -> bool:
    return any(job.state not in DONE_STATES for job in jobs)


def heading(names: Mapping[str, str], shown: int, most: int) -> str:
    """What a list of jobs is about."""
    about = ", ".join(f"{key} {value}" for key, value in names.items() if value)
    return f"Jobs{' of ' if about else ''}{about}: {'the newest ' if shown >= most else ''}{shown}"
