"""Jobs know after their creation what the server knows of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from balsam.api import Job
from balsam.client.transport import Client
from tests.server.lab import Lab

ODD: list[dict[str, Any]] = [
    {},
    {"workdir": "./a//b/"},
    {"tags": {"n": 1, 2: True}, "launch_params": {"x": 1.5}},
    {"num_nodes": 2, "wall_time_min": 3.0, "gpus_per_rank": 1},
    {"num_nodes": 1, "wall_time_min": 0, "gpus_per_rank": 0, "max_restarts": 50, "tags": {}},
    {"data": {}, "transfers": {}, "parents_must": "finish", "node_packing_count": 1.0},
    {"return_code": 3, "max_restarts": 0, "mem_mb_per_rank": 5, "threads_per_core": 2},
    {"data": {"list": [1, 2], "3": "key", "deep": {"a": [None, 1.0, True]}}, "parents_must": "end"},
    {"parameters": {"x": [1, {"y": 2.5}], "none": None, "text": "é☃"}},
    {"parameters": {"x": {1, 2}}},
    {"parameters": {"x": 1e15, "y": 0.0, "z": 1e-9}},
    {"parameters": {"x": 1e16}},
    {"parameters": {"x": [-0.0]}},
]


@pytest.mark.parametrize("options", ODD)
def test_a_new_job_is_what_a_later_look_finds(client: Client, options: dict[str, Any]) -> None:
    lab = Lab(client)
    parents = set(lab.create(2))
    job = Job(**{"workdir": "w", "app_id": lab.app["id"], "parent_ids": parents, **options})
    job._client = client
    job.save()
    found = client.get(f"/jobs/{job.id}")
    found["last_update"] = found["last_update"].removesuffix("+00:00")
    assert repr(Job.objects.using(client).get(id=job.id).get_parameters()) == repr(job._parameters)
    assert json.dumps(job._row, sort_keys=True) == json.dumps(found, sort_keys=True)


def test_what_a_user_changes_later_does_not_change_a_saved_job(client: Client) -> None:
    lab = Lab(client)
    values = [1, 2]
    job = Job("w", lab.app["id"], parameters={"values": values})
    job._client = client
    job.save()
    values.append(3)
    assert job.get_parameters() == {"values": [1, 2]}
