"""The dashboard: pages for a browser, below `/ui/`. One file per noun, templates and assets beside them.

Pages read and change things through the same functions as the REST interface, on behalf of the same owner.
"""

from __future__ import annotations

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """All routes of the dashboard; what takes any path comes last."""
    from balsam.server.dashboard import (  # here: the modules below import this package
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

    modules = (
        live, assets, login, overview, actions, jobs, submission, job, batch_jobs, sites, apps, transfers,
        tokens, timeline, analytics, figures, unknown,
    )  # fmt: skip
    return [module.router for module in modules]
