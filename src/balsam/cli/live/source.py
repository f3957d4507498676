"""What the live view asks of the server, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from balsam.api import EventLog, Job, Site
from balsam.cli.job_changes import retry_jobs
from balsam.core.states import JobState
from balsam.schemas.messages import KillsOut
from balsam.schemas.overview import OverviewOut
from balsam.sdk.apps import App
from balsam.sdk.jobs import JobQuery

if TYPE_CHECKING:
    from balsam.client.transport import Client

MAX_JOBS = 200
MAX_EVENTS = 100
# A look that takes a second is not repeated for 20: it must cost the server next to nothing.
PAUSE_PER_SEC = 20.0


def pause(took_sec: float, least_sec: float) -> float:
    """How long to wait after a look that took so long."""
    return max(least_sec, took_sec * PAUSE_PER_SEC)


@dataclass(frozen=True)
class Listed:
    """The newest chosen jobs, and the names of their apps."""

    jobs: list[Job]
    apps: dict[int, str]


@dataclass(frozen=True)
class Told:
    """One job, its app's and site's names, why it is where it is, and its history, oldest first.

    `has_more_events`: of a history that is longer, these are the newest.
    """

    job: Job
    app: str
    site: str
    why: str
    events: list[EventLog]
    has_more_events: bool = False


@dataclass
class Source:
    """Every call is one or few requests, made in a thread of its own; raises ClientError."""

    client: Client
    _apps: dict[int, str] = field(default_factory=dict)
    _sites: dict[int, str] = field(default_factory=dict)

    def overview(self) -> OverviewOut:
        seen = OverviewOut(**self.client.get("/overview"))
        self._sites = {site.id: site.name for site in seen.sites}
        return seen

    def query(self, filters: dict[str, Any]) -> JobQuery:
        return Job.objects.using(self.client).all().narrowed(filters)

    def jobs(self, filters: dict[str, Any]) -> Listed:
        found = list(self.query(filters).order_by("-id")[:MAX_JOBS])
        return Listed(found, self._names({job.app_id for job in found}))

    def job(self, job_id: int) -> Told:
        """Raises Job.DoesNotExist."""
        job = self.query({"id": job_id}).the_one()
        found = list(EventLog.objects.using(self.client).filter(job_id=job_id)[: MAX_EVENTS + 1])
        events = sorted(found[:MAX_EVENTS], key=lambda event: event.id)
        app = self._names({job.app_id}).get(job.app_id, "?")
        if job.site_id not in self._sites:
            self._sites = {site.id: site.name for site in Site.objects.using(self.client).all()}
        site = self._sites.get(job.site_id, "?")
        return Told(job, app, site, job.why().sentence, events, len(found) > MAX_EVENTS)

    def kill(self, filters: dict[str, Any]) -> KillsOut:
        return self.query(filters).kill()

    def retry(self, filters: dict[str, Any]) -> int:
        """Retries the failed ones of the chosen jobs; how many."""
        failed = [job for job in self.query(filters) if job.state is JobState.failed]
        retry_jobs(failed)
        return len(failed)

    def _names(self, app_ids: set[int]) -> dict[int, str]:
        unknown = app_ids - self._apps.keys()
        if unknown:
            apps = App.objects.using(self.client).filter(id=sorted(unknown))
            self._apps |= {app.id: app.name for app in apps}
        return self._apps
