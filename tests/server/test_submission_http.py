"""What is refused at submission of a client that asks for strict handling, and told of others by `why`."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User

QUEUES = {"q": {"max_nodes": 2, "max_walltime": 60, "max_queued_jobs": 1}}
NEEDED = {"a": {"required": True, "default": None, "help": ""}}
SLOT = {"required": True, "direction": "in", "local_path": "in.dat"}


@pytest.fixture
def lab(client: Client) -> Lab:
    """A site whose agent has told what it has, and an app that needs a parameter and a file."""
    lab = Lab(client, hooks=[], parameters=NEEDED, transfers={"source": SLOT})
    told = {"allowed_queues": QUEUES, "allowed_projects": ["p"]}
    client.put(f"/sites/{lab.site['id']}", {**told, "nodes": [{"cpus": 2, "gpus": 1, "mem_mb": 100}]})
    return lab


GOOD: dict[str, Any] = {
    "parameters_json": {"a": 1},
    "transfers": {"source": {"location_alias": "dtn", "path": "/x"}},
}
BAD = [
    ({"parameters_json": {}}, "app App needs 'a'"),
    ({"parameters_json": {"a": 1, "b": 1}}, "does not take 'b'"),
    ({"transfers": {}}, "app App needs transfers for: source"),
    ({"gpus_per_rank": 2}, "a node of its site has 1 GPU and 100 MB"),
    ({"num_nodes": 3}, "the queues of its site take at most 2 nodes for 60 minutes"),
]


@pytest.mark.parametrize(("values", "told"), BAD)
def test_our_client_is_refused_what_can_not_run(lab: Lab, values: dict[str, Any], told: str) -> None:
    with pytest.raises(ServerRefused) as refused:
        lab.create(**{**GOOD, **values})
    assert refused.value.status == 400 and told in refused.value.sentence
    assert lab.client.get("/jobs/")["count"] == 0


@pytest.mark.parametrize(("values", "told"), BAD)
def test_the_published_client_is_told_of_it_by_why(
    lab: Lab, user: User, password_server: PasswordServer, values: dict[str, Any], told: str
) -> None:
    body = [{"workdir": "w", "app_id": lab.app["id"], **GOOD, **values}]
    answer = asking.post(f"{password_server.url}/jobs/", json=body, headers=_login(user))
    assert answer.status_code == 201
    why = lab.client.get(f"/jobs/{answer.json()[0]['id']}/why")
    assert told in why["doubt"] and why["sentence"].endswith(f"But: {why['doubt']}.")


@pytest.mark.parametrize("slot", [SLOT, {**SLOT, "required": False}])
def test_transfers_to_a_site_that_moves_no_files_are_refused_and_told(
    lab: Lab, user: User, password_server: PasswordServer, slot: dict[str, Any]
) -> None:
    """A switch that does nothing is refused at submission, and `why` names it."""
    app = lab.add_app("Staged", [], transfers={"source": slot})
    lab.client.put(f"/sites/{lab.site['id']}", {"moves_files": False})
    with pytest.raises(ServerRefused, match=r"moves no files .* for source of app Staged for ever"):
        lab.create(app_id=app["id"], transfers=GOOD["transfers"])
    unknown = {"source": {"location_alias": "nowhere", "path": "/x"}}
    with pytest.raises(ServerRefused, match="moves no files"):
        lab.create(app_id=app["id"], transfers=unknown)
    body = [{"workdir": "w", "app_id": app["id"], "transfers": GOOD["transfers"]}]
    answer = asking.post(f"{password_server.url}/jobs/", json=body, headers=_login(user))
    assert answer.status_code == 201
    why = lab.client.get(f"/jobs/{answer.json()[0]['id']}/why")
    assert why["code"] == "no_transfers" and "moves no files" in why["doubt"]
    assert "waits for 1 transfer of its files, e.g. in.dat" in why["sentence"]
    assert f"balsam job modify --id {why['job_id']} -s STAGED_IN" in why["sentence"]
    if not slot["required"]:
        assert lab.create(app_id=app["id"]), "a job that names no transfer goes its way"


def test_a_site_whose_agent_moves_files_or_has_not_told_takes_transfers(lab: Lab) -> None:
    """Such as one of release 0.7."""
    assert lab.create(**GOOD)
    lab.client.put(f"/sites/{lab.site['id']}", {"moves_files": True})
    assert lab.create(**GOOD)


def test_a_good_job_raises_no_doubt(lab: Lab) -> None:
    [job] = lab.create(**GOOD)
    assert lab.client.get(f"/jobs/{job}/why")["doubt"] is None


def test_the_bad_one_of_many_is_named_and_none_is_created(lab: Lab) -> None:
    good = {"workdir": "good", "app_id": lab.app["id"], **GOOD}
    faults: list[tuple[dict[str, Any], str]] = [
        ({"parameters_json": {}}, "needs 'a'"),
        ({"app_id": 10**9}, "Unknown: [1000000000]"),
        ({"parent_ids": [10**9]}, "Unknown: [1000000000]"),
        ({"transfers": {"nope": {"location_alias": "dtn", "path": "/x"}}}, "no Transfer slot named nope"),
        ({"transfers": {"source": {"location_alias": "moon", "path": "/x"}}}, "no Transfer URL named moon"),
    ]
    for fault, told in faults:
        with pytest.raises(ServerRefused) as refused:
            lab.client.post("/jobs/", [good, {**good, "workdir": "bad", **fault}])
        assert refused.value.sentence.startswith("item 1 (workdir bad): ") and told in refused.value.sentence
    with pytest.raises(ServerRefused, match="item 1: num_nodes"):
        lab.client.post("/jobs/", [good, {**good, "num_nodes": -1}])
    assert lab.client.get("/jobs/")["count"] == 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"queue": "fast"}, "no queue 'fast'; it has q"),
        ({"project": "x"}, "no project 'x'; it has p"),
        ({"num_nodes": 3}, "3 nodes are more than queue q takes: 2"),
        ({"wall_time_min": 61}, "61 minutes are more than"),
        ({"num_nodes": 2, "partitions": [{"job_mode": "mpi", "num_nodes": 1}]}, "1 node together"),
    ],
)
def test_allocations_that_no_queue_takes(
    lab: Lab, user: User, password_server: PasswordServer, values: dict[str, Any], told: str
) -> None:
    wanted = {"project": "p", "queue": "q", **values}
    with pytest.raises(ServerRefused) as refused:
        lab.batch_job(**wanted)
    assert told in refused.value.sentence
    body = {"site_id": lab.site["id"], "num_nodes": 1, "wall_time_min": 10, "job_mode": "serial", **wanted}
    # The published client is told by the site's agent instead, as published.
    answer = asking.post(f"{password_server.url}/batch-jobs/", json=body, headers=_login(user))
    assert answer.status_code == 201 and answer.json()["state"] == "pending_submission"


def test_an_app_that_changed_raises_a_doubt_about_the_jobs_that_it_has(lab: Lab) -> None:
    [job] = lab.create(**GOOD)
    lab.client.put(f"/apps/{lab.app['id']}", {"parameters": {}})
    assert "does not take 'a'" in lab.client.get(f"/jobs/{job}/why")["doubt"]


def _login(user: User) -> dict[str, str]:
    return {"authorization": f"Bearer {user.token}"}
