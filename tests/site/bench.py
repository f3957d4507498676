"""What tests do with a site: start and kill its agent, ask for nodes, queue jobs with hooks."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from balsam.client.transport import Client
from balsam.platform.schedulers.local import LocalScheduler
from balsam.runtime.site_folder import SiteFolder
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from balsam.site.processes import StartReport, agent_status, start_agent, stop_agent
from tests import asking
from tests.waiting import wait_until

_numbers = itertools.count(1)
Record = dict[str, Any]


class Bench:
    """A site and its owner's client."""

    def __init__(self, site: SiteFolder, client: Client) -> None:
        self.site = site
        self.client = client

    def start(self) -> StartReport:
        report = start_agent(self.site)
        assert report.started, report.sentence
        return report

    @property
    def agent_pid(self) -> int:
        pid = agent_status(self.site).pid
        assert pid is not None, self.log()
        return pid

    def kill_agent(self) -> None:
        """As `kill -9` does."""
        pid = self.agent_pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not agent_status(self.site).running)

    def close(self) -> None:
        if agent_status(self.site).running:
            os.kill(self.agent_pid, signal.SIGCONT)
        stop_agent(self.site)
        scheduler = LocalScheduler(self.site.job_path / "local")
        for allocation in scheduler.active().values():
            scheduler.delete(allocation, politely=True)
        wait_until(lambda: not scheduler.active())

    def log(self) -> str:
        """All of the agent's logs."""
        return "\n".join(file.read_text() for file in sorted(self.site.log_path.glob("service*")))

    def template(self, script: str) -> None:
        """Allocations run this from now on, in place of a launcher."""
        self.site.template_path.write_text(f"#!/bin/bash\n{script}\n")

    def output(self, batch_job_id: int) -> str:
        file = self.site.job_path / f"qlaunch{batch_job_id:05d}.output"
        return file.read_text() if file.exists() else ""

    def ask(self, **values: Any) -> int:
        """Asks for an allocation as the published client does, without strict handling; its BatchJob's id."""
        body = {
            "num_nodes": 1,
            "wall_time_min": 5,
            "job_mode": "serial",
            "project": "local",
            "queue": "local",
        }
        login = {"authorization": f"Bearer {self.site.token}"}
        wanted = {**body, "site_id": self.site.site_id, **values}
        answer = asking.post(f"{self.site.login.api_root}/batch-jobs/", json=wanted, headers=login)
        return int(answer.raise_for_status().json()["id"])

    def batch_job(self, batch_job_id: int) -> Record:
        record: Record = self.client.get(f"/batch-jobs/{batch_job_id}")
        return record

    def await_state(self, batch_job_id: int, state: str, timeout: float = 25.0) -> Record:
        def there() -> bool:
            return bool(self.batch_job(batch_job_id)["state"] == state)

        wait_until(there, timeout, lambda: f"{self.batch_job(batch_job_id)}\n{self.log()}")
        return self.batch_job(batch_job_id)

    def app(self, template: str = "true", **hooks: Callable[..., None]) -> int:
        """An app with this command and these methods; its id."""
        name = f"App{next(_numbers)}"
        body = {"site": self.site.site_id, "command_template": template, **hooks}
        made: type[ApplicationDefinition] = types.new_class(
            name, (ApplicationDefinition,), exec_body=lambda names: names.update(body)
        )
        for hook in hooks.values():
            hook.__module__ = "__main__"  # the tests' modules can't be imported at a site
        with session(self.client):
            made.sync()
        return int(made.__app_id__ or 0)

    def jobs(self, app_id: int, count: int = 1, **values: Any) -> list[int]:
        """Queues jobs in workdirs `<app>/<number>`."""
        items = [{"app_id": app_id, "workdir": f"{app_id}/{i}", **values} for i in range(count)]
        return [job["id"] for job in self.client.post("/jobs/", items)]

    def job(self, job_id: int) -> Record:
        record: Record = self.client.get(f"/jobs/{job_id}")
        return record

    def states(self, job_ids: list[int]) -> list[str]:
        found = self.client.get("/jobs/", {"id": job_ids})["results"]
        return [job["state"] for job in found]

    def await_states(self, job_ids: list[int], state: str, timeout: float = 25.0) -> None:
        wait_until(
            lambda: set(self.states(job_ids)) == {state},
            timeout,
            lambda: f"{self.states(job_ids)}\n{self.log()}",
        )

    def workdir(self, job_id: int) -> Path:
        return self.site.data_path / str(self.job(job_id)["workdir"])

    def events(self, job_id: int) -> list[Record]:
        """Oldest first."""
        found: list[Record] = self.client.get("/events/", {"job_id": job_id})["results"]
        return found[::-1]


def lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
