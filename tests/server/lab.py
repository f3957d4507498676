"""A user's site with one app, and the few calls that the tests of the server make on it."""

from __future__ import annotations

import itertools
from typing import Any

from balsam.client.jobs import Refusals, patch_jobs
from balsam.client.transport import Client

_numbers = itertools.count(1)


class Lab:
    """`hooks` None is an app of an old client, [] one without hooks."""

    def __init__(self, client: Client, hooks: list[str] | None = None, **app: Any) -> None:
        self.client = client
        self.site: dict[str, Any] = client.post(
            "/sites/",
            {"name": f"site{next(_numbers)}", "path": "/a/site", "transfer_locations": {"dtn": "local://x"}},
        )
        self.app = self.add_app("App", hooks, **app)

    def add_app(self, name: str, hooks: list[str] | None, **values: Any) -> dict[str, Any]:
        body = {
            "site_id": self.site["id"],
            "name": name,
            "serialized_class": "",
            "source_code": "",
            "hooks": hooks,
        }
        app: dict[str, Any] = self.client.post("/apps/", {**body, **values})
        return app

    def create(self, count: int = 1, **values: Any) -> list[int]:
        job = {"workdir": "work", "app_id": self.app["id"], **values}
        return [row["id"] for row in self.client.post("/jobs/", [job] * count)]

    def job(self, job_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/jobs/{job_id}")
        return found

    def state(self, job_id: int) -> str:
        return str(self.job(job_id)["state"])

    def events(self, job_id: int) -> list[dict[str, Any]]:
        """Oldest first."""
        found: list[dict[str, Any]] = self.client.get("/events/", {"job_id": job_id})["results"]
        return sorted(found, key=lambda event: int(event["id"]))

    def walk(self, job_id: int) -> list[str]:
        return ["CREATED", *(event["to_state"] for event in self.events(job_id))]

    def batch_job(self, **values: Any) -> dict[str, Any]:
        body = {"site_id": self.site["id"], "num_nodes": 1, "wall_time_min": 10, "job_mode": "serial"}
        row: dict[str, Any] = self.client.post(
            "/batch-jobs/", {**body, "project": "local", "queue": "local", **values}
        )
        return row

    def session(self, **values: Any) -> int:
        body = {"site_id": self.site["id"], "fenced": True, "num_nodes": 1, **values}
        return int(self.client.post("/sessions/", body)["id"])

    def acquire(self, session: int, count: int = 100, *, key: str | None = None, **values: Any) -> list[int]:
        body = {"max_num_jobs": count, "filter_tags": {}, **values}
        return [row["id"] for row in self.client.post(f"/sessions/{session}", body, key=key)]

    def move(
        self, job_ids: list[int], state: str, session: int | None = None, **values: Any
    ) -> tuple[int, Refusals]:
        items = [{"id": job_id, "state": state, **values} for job_id in job_ids]
        return patch_jobs(self.client, items, session)

    def run(self, session: int, job_ids: list[int], end: str = "RUN_DONE") -> None:
        self.move(job_ids, "RUNNING", session)
        self.move(job_ids, end, session)
