"""The dashboard: pages for a browser, below `/ui/`. One file per noun, templates and assets beside them.

Pages read and change things through the same functions as the REST interface, on behalf of the same owner.
"""

from __future__ import annotations

from fastapi import APIRouter

from balsam.server.dashboard import (
    actions,
    analytics,
    apps,
    assets,
    batch_jobs,
    figures,
    job,
    jobs,
    live,
    login,
    overview,
    sites,
    submission,
    timeline,
    tokens,
    transfers,
    unknown,
)

# What takes a part of a path that others name comes after them, and what takes any path comes last.
_MODULES = (
    *(live, assets, login, overview, actions, jobs, submission, job, batch_jobs, sites, apps, transfers),
    *(tokens, timeline, analytics, figures, unknown),
)


def routers() -> list[APIRouter]:
    """All routes of the dashboard."""
    return [module.router for module in _MODULES]
