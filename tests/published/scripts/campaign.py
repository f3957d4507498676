"""Runs a command app and a Python app at a site: `python campaign.py SITE LABEL`; prints JSON.

Whoever runs it for several users of one site writes other names for HelloApp, AddApp and OwnApp.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

from balsam.api import ApplicationDefinition, EventLog, Job, JobState

SITE, LABEL = sys.argv[1:]
FACTOR = 10


def scaled(x: int) -> int:
    return x * FACTOR


class HelloApp(ApplicationDefinition):
    site = SITE
    command_template = "echo Hello, {{ name }}{{ mark }}"
    parameters = {"mark": {"required": False, "default": "!", "help": ""}}


class AddApp(ApplicationDefinition):
    site = SITE

    def run(self, x: int, y: int = 2) -> dict[str, Any]:
        if y == 0:
            raise ValueError(f"no {y}")
        return {"sum": scaled(x) + y, "state": JobState.job_finished, "cores": self.job.num_nodes}

    def postprocess(self) -> None:
        self.job.data = {"seen": True}
        self.job.state = JobState.postprocessed


@dataclass
class Reading:
    value: int


class OddReading(Exception):
    pass


class OwnApp(ApplicationDefinition):
    """Its results and exceptions are of this script's own classes."""

    site = SITE

    def run(self, value: int) -> Reading:
        if value < 0:
            raise OddReading(f"{value} is below 0")
        return Reading(scaled(value))


def raised(job: Any) -> str:
    try:
        return repr(job.result(timeout=1))
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def main() -> None:
    for app in (HelloApp, AddApp, OwnApp):
        app.sync()
    tags = {"campaign": "all"}
    hello = HelloApp.submit(f"{LABEL}/hello", tags=tags, name="you")
    good = AddApp.submit(f"{LABEL}/good", tags=tags, x=3)
    bad = AddApp.submit(f"{LABEL}/bad", tags=tags, x=3, y=0)
    read = OwnApp.submit(f"{LABEL}/read", tags=tags, value=4)
    odd = OwnApp.submit(f"{LABEL}/odd", tags=tags, value=-1)
    jobs = [hello, good, bad, read, odd]
    Job.objects.wait(jobs, timeout=50, poll_interval=0.5)
    for job in jobs:
        job.refresh_from_db()
    told = {
        "states": [job.state.value for job in jobs],
        "moves": [e.to_state for e in EventLog.objects.filter(job_id=good.id).order_by("timestamp")],
        "data": good.data,
    }
    if told["states"] == ["JOB_FINISHED", "JOB_FINISHED", "FAILED", "JOB_FINISHED", "FAILED"]:
        told |= {"result": good.result(timeout=1), "error": raised(bad)}
        told |= {"own result": repr(read.result(timeout=1)), "own error": raised(odd)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
