"""Jobs of several apps, tags and states at one site, as tests of listings and filters need them."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.api import ApplicationDefinition, Job, JobState, Session, Site


@dataclass(frozen=True)
class Campaign:
    """`one` .. `four` wait; `one` and `two` in lane a, the others in lane b; `failed` ran once."""

    site: Site
    one: Job
    two: Job
    three: Job
    four: Job
    failed: Job

    @property
    def ids(self) -> list[int]:
        return [job.id for job in (self.one, self.two, self.three, self.four, self.failed)]


def make(site_name: str) -> Campaign:
    """With apps Hello and Add, at a site that is there."""

    class Hello(ApplicationDefinition):
        site = site_name
        command_template = "echo Hello, {{ name }}!"

    class Add(ApplicationDefinition):
        site = site_name

        def run(self, a: int, b: int = 2) -> int:
            return a + b

    Hello.sync()
    Add.sync()
    site = Site.objects.get(name=site_name)
    one = Hello.submit("hello/1", name="a", tags={"lane": "a"})
    two = Add.submit("add/1", a=1, tags={"lane": "a", "hot": "yes"})
    three = Add.submit("add/2", a=2, tags={"lane": "b"})
    four = Hello.submit("hello/2", name="b", tags={"lane": "b"}, parent_ids=[one.id])
    return Campaign(site, one, two, three, four, fail_one(site, Hello))


def fail_one(site: Site, app: type[ApplicationDefinition], code: int = 3, error: str = "no such mesh") -> Job:
    """A job that ran and failed, as a launcher reports it."""
    job = app.submit("hello/failed", name="c", priority=100)
    session = Session.objects.create(site.id, fenced=True, num_nodes=1)
    [held] = session.acquire_jobs(1)
    assert held.id == job.id
    for state, data in (
        (JobState.running, {"nodes": ["n1"]}),
        (JobState.run_error, {"returncode": code, "error": error}),
    ):
        held.state, held.state_data = state, data
        held.save()
    session.delete()
    job.refresh_from_db()
    assert job.state is JobState.failed and job.num_runs == 1
    return job
