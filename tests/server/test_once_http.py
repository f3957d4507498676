"""Requests with the same idempotency key that cross on the way: one effect, the same answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from balsam.client.transport import Answer, Client
from tests.server.lab import Lab

CROSSING = 6


def cross(client: Client, method: str, path: str, body: Any, key: str) -> list[Answer]:
    """The answers to requests that are sent at the same moment."""
    barrier = threading.Barrier(CROSSING)

    def send(_: int) -> Answer:
        barrier.wait()
        return client.request(method, path, body=body, key=key)

    with ThreadPoolExecutor(CROSSING) as pool:
        return list(pool.map(send, range(CROSSING)))


def all_the_same(answers: list[Answer]) -> Any:
    assert [answer.body for answer in answers] == [answers[0].body] * CROSSING
    assert len({answer.headers.get("balsam-refused") for answer in answers}) == 1
    return answers[0].body


@pytest.mark.parametrize("attempt", range(3))
def test_crossing_requests_act_once_and_answer_the_same(client: Client, attempt: int) -> None:
    lab = Lab(client, hooks=[])
    job = {"workdir": "w", "app_id": lab.app["id"], "transfers": {}}
    jobs = all_the_same(cross(client, "POST", "/jobs/", [job] * 20, "create"))
    assert client.get("/jobs/")["count"] == len(jobs) == 20
    session = lab.session()
    acquired = all_the_same(cross(client, "POST", f"/sessions/{session}", {"max_num_jobs": 5}, "acquire"))
    assert client.get("/jobs/", {"session_id": session})["count"] == len(acquired) == 5
    items: list[dict[str, Any]] = [{"id": row["id"], "state": "RUNNING"} for row in acquired]
    items.append({"id": jobs[-1]["id"], "num_nodes": -1})
    path = f"/jobs/?session_id={session}"
    assert all_the_same(cross(client, "PATCH", path, items, "run")) == 5
    assert client.get("/events/", {"to_state": "RUNNING"})["count"] == 5
    site = {"name": "crossed", "path": "/a"}
    all_the_same(cross(client, "POST", "/sites/", site, "site"))
    wanted = {"site_id": lab.site["id"], "num_nodes": 1, "wall_time_min": 1, "job_mode": "mpi"}
    all_the_same(cross(client, "POST", "/batch-jobs/", {**wanted, "project": "p", "queue": "q"}, "nodes"))
    assert client.get("/batch-jobs/")["count"] == 1


def test_a_key_with_another_body_is_refused_also_while_the_first_is_under_way(client: Client) -> None:
    lab = Lab(client, hooks=[])
    barrier = threading.Barrier(CROSSING)

    def send(count: int) -> int:
        barrier.wait()
        job = {"workdir": "w", "app_id": lab.app["id"]}
        try:
            return len(client.post("/jobs/", [job] * (count + 1), key="k"))
        except ServerRefused as exc:
            assert exc.status == 422 and "another body" in exc.sentence
            return 0

    with ThreadPoolExecutor(CROSSING) as pool:
        made = [count for count in pool.map(send, range(CROSSING)) if count]
    assert len(made) == 1 and client.get("/jobs/")["count"] == made[0]
