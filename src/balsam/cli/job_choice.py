"""Which jobs a command acts on, and which others wait for them."""

from __future__ import annotations

from typing import Any

from balsam.api import Job, JobState
from balsam.cli.app_choice import app_ids_of
from balsam.cli.options import member, pairs
from balsam.cli.site_selector import selected_sites
from balsam.core.states import DONE_STATES


def job_filters(
    ids: list[int],
    tags: tuple[str, ...],
    state: str | None,
    exclude_state: str | None,
    site_selector: str,
    workdir: str | None = None,
    app_str: str | None = None,
) -> dict[str, Any]:
    """Filters of `Job.objects.filter`; jobs that are named by id are found wherever they are."""
    filters: dict[str, Any] = {}
    if ids:
        filters["id"] = ids
    if tags:
        filters["tags"] = pairs(tags, "--tag")
    if state:
        filters["state"] = member(JobState, state, "--state")
    if exclude_state:
        filters["state__ne"] = member(JobState, exclude_state, "--exclude-state")
    sites = selected_sites(site_selector) if site_selector or not ids else None
    if sites is not None:
        filters["site_id"] = sites
    if workdir:
        filters["workdir__contains"] = workdir
    if app_str:
        filters["app_id"] = app_ids_of(app_str, site_selector)
    return filters


def waiting_children(jobs: list[Job]) -> list[Job]:
    """Jobs that are not among these, have not ended, and have one of these as a parent."""
    ids = {job.id for job in jobs}
    children = {child.id: child for child in Job.objects.filter(parent_id=sorted(ids))}
    return [
        child for id, child in sorted(children.items()) if id not in ids and child.state not in DONE_STATES
    ]


def delete_jobs(jobs: list[Job]) -> None:
    """Removes exactly these jobs, however the filters that chose them would now answer."""
    Job.objects.filter(id=[job.id for job in jobs]).delete()
