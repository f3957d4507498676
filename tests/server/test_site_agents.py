"""Agents claim their sites and the BatchJobs that they submit: over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from tests.server.lab import Lab
from tests.services import User

PLACE = {
    "host": "login1",
    "boot_id": "b1",
    "pid": 7,
    "process": "b1:7",
    "folder": "64:1001",
    "path": "/a/site",
}


@pytest.fixture
def lab(new_user: Callable[[], User]) -> Lab:
    return Lab(new_user().client)


def claim(lab: Lab, instance: str, **values: Any) -> dict[str, Any]:
    body = {**PLACE, "instance": instance, **values}
    answer: dict[str, Any] = lab.client.put(f"/sites/{lab.site['id']}/agent", body)
    return answer


def test_of_many_agents_one_is_let_in_until_it_leaves(lab: Lab) -> None:
    names = [f"instance-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: claim(lab, name, path=f"/{name}"), names))
    [winner] = [name for name, answer in zip(names, answers, strict=True) if answer["granted"]]
    assert {answer["holder"]["instance"] for answer in answers} == {winner}
    site = lab.client.get(f"/sites/{lab.site['id']}")
    assert site["agent"]["state"] == "works" and site["agent"]["path"] == f"/{winner}"
    assert site["agent"]["refused"]["path"] != f"/{winner}"
    lab.client.delete(f"/sites/{lab.site['id']}/agent/instance-99")
    assert claim(lab, winner)["granted"], "somebody else's farewell ends nothing"
    lab.client.delete(f"/sites/{lab.site['id']}/agent/{winner}")
    assert lab.client.get(f"/sites/{lab.site['id']}")["agent"]["state"] == "stopped"
    assert claim(lab, "instance-99")["granted"]


def test_a_batch_job_is_submitted_by_the_holder_of_its_site_alone(lab: Lab) -> None:
    batch_job = lab.batch_job()["id"]
    route = f"/batch-jobs/{batch_job}/submission"
    with pytest.raises(ServerRefused, match="submitted by the agent that holds its site: nobody"):
        lab.client.post(route, {"instance": "instance-1"})
    claim(lab, "instance-1")
    lab.client.post(route, {"instance": "instance-1"})
    lab.client.post(route, {"instance": "instance-1"})
    with pytest.raises(ServerRefused, match="login1, in /a/site"):
        lab.client.post(route, {"instance": "instance-2"})
    claim(lab, "instance-2", replaces="instance-1", folder="64:2002", path="/a/copy")
    with pytest.raises(ServerRefused, match="may have been submitted by an agent on login1 in /a/site"):
        lab.client.post(route, {"instance": "instance-2"})
    claim(lab, "instance-3", replaces="instance-2")
    lab.client.post(route, {"instance": "instance-3"})
    lab.client.put(f"/batch-jobs/{batch_job}", {"state": "queued", "scheduler_id": 4})
    with pytest.raises(ServerRefused, match="is queued: it is not to be submitted"):
        lab.client.post(route, {"instance": "instance-3"})
