"""Bulk updates: an item that is wrong is named and refused, the others are applied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from balsam.client.jobs import patch_jobs, refusals
from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.services import User


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"num_nodes": -1}, "num_nodes should be greater than or equal to 0"),
        ({"state": "NO_STATE"}, "state should be"),
        ({"data": {"x": "\x00"}}, "data ['x'] must not hold a NUL character"),
        ({"workdir": "/absolute"}, "workdir must be relative"),
        ({"serialized_return_value": "x" * 512_001}, "serialized_return_value: Value should have at most"),
        ({"state": "RUNNING", "state_timestamp": "yesterday"}, "state_timestamp should be"),
        ({"batch_job_id": 10**9}, "there is no BatchJob"),
    ],
)
def test_one_bad_job_does_not_poison_the_others(lab: Lab, wrong: dict[str, Any], told: str) -> None:
    jobs = lab.create(3)
    items = [{"id": job, "priority": 5} for job in jobs]
    items[1] |= wrong
    applied, refused = patch_jobs(lab.client, items)
    assert applied == 2 and [job for job, _ in refused] == [jobs[1]] and told in refused[0][1]
    assert [lab.job(job)["priority"] for job in jobs] == [5, 0, 5]


def test_a_resent_update_names_the_same_refusals(lab: Lab) -> None:
    jobs = lab.create(2)
    items: list[dict[str, Any]] = [{"id": jobs[0], "priority": 1}, {"id": jobs[1], "num_nodes": -1}]
    assert patch_jobs(lab.client, items, key="k") == patch_jobs(lab.client, items, key="k")


def test_an_item_that_nobody_can_name_spoils_the_request(lab: Lab) -> None:
    [job] = lab.create()
    for nameless in ({"priority": 1}, {"id": "x"}, {"id": -1}, "text", None, [1]):
        with pytest.raises(ServerRefused) as refused:
            patch_jobs(lab.client, [{"id": job, "priority": 9}, nameless])  # type: ignore[list-item]
        assert refused.value.status == 422
    assert lab.job(job)["priority"] == 0


def test_many_refusals_fit_into_a_header(lab: Lab) -> None:
    jobs = lab.create(60)
    applied, refused = patch_jobs(
        lab.client, [{"id": job, "launch_params": {"k": "x" * 5000}} for job in jobs]
    )
    assert applied == 0 and 20 < len(refused) < 60
    assert all("should have at most 4096" in reason for _, reason in refused)


def test_what_a_run_printed_is_mended_so_that_its_end_is_known(lab: Lab, user: User) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    printed = {"returncode": 1, "error": "a\x00b\ud800", "k\x00": ["\x00"]}
    body = json.dumps([{"id": job, "state": "RUN_ERROR", "state_data": printed}])
    headers = {"authorization": f"Bearer {user.token}", "content-type": "application/json"}
    url = f"{user.client.api_root}/jobs/?session_id={session}"
    assert asking.patch(url, content=body, headers=headers).json() == 1
    [event] = [e for e in lab.events(job) if e["to_state"] == "RUN_ERROR"]
    assert event["data"] == {"returncode": 1, "error": "a\ufffdb?", "k\ufffd": ["\ufffd"]}


def test_reports_of_allocations_are_applied_item_by_item(lab: Lab) -> None:
    ids = [lab.batch_job()["id"] for _ in range(3)]
    items: list[dict[str, Any]] = [{"id": i, "state": "queued"} for i in ids]
    items[1]["scheduler_id"] = "no number"
    answer = lab.client.request("PATCH", "/batch-jobs/", body=[*items, {"id": 10**9, "state": "queued"}])
    assert [row["id"] for row in answer.body] == [ids[0], ids[2]]
    assert {row["state"] for row in answer.body} == {"queued"}
    refused = dict(refusals(answer.headers["balsam-refused"]))
    assert refused.keys() == {ids[1], 10**9} and "scheduler_id should be" in refused[ids[1]]


def test_what_an_allocation_printed_is_cut_and_mended(lab: Lab) -> None:
    row = lab.batch_job()
    info = {"error": "x" * 9000 + "\x00the end"}
    [changed] = lab.client.patch("/batch-jobs/", [{"id": row["id"], "status_info": info}])
    error = changed["status_info"]["error"]
    assert len(error) == 4096 and error.endswith("x\ufffdthe end")


def test_a_code_that_is_no_number_spoils_no_other_report(lab: Lab) -> None:
    session = lab.session()
    jobs = lab.create(2)
    lab.acquire(session)
    lab.move(jobs, "RUNNING", session)
    items = [
        {"id": job, "state": "RUN_ERROR", "state_data": {"returncode": code}}
        for job, code in zip(jobs, (True, 3), strict=True)
    ]
    assert patch_jobs(lab.client, items, session) == (2, [])
    assert [lab.job(job)["return_code"] for job in jobs] == [None, 3]


def test_notes_of_launchers_and_agent_stand_beside_each_other(lab: Lab) -> None:
    number = lab.batch_job()["id"]
    lab.client.put(f"/batch-jobs/{number}", {"status_info": {"error": "early", "submit_time": "now"}})
    notes = {"spool": "the disk is full", "error": "late"}
    [changed] = lab.client.patch("/batch-jobs/", [{"id": number, "notes": notes}])
    assert changed["status_info"] == {"error": "late", "submit_time": "now", "spool": "the disk is full"}
    changed = lab.client.put(f"/batch-jobs/{number}", {"notes": {"spool": None, "unknown": None}})
    assert changed["status_info"] == {"error": "late", "submit_time": "now"}
    [ended] = lab.client.patch("/batch-jobs/", [{"id": number, "state": "finished"}])
    [later] = lab.client.patch("/batch-jobs/", [{"id": number, "notes": {"refused": "1 report"}}])
    assert ended["state"] == later["state"] == "finished" and later["status_info"]["refused"] == "1 report"
