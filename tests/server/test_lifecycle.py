from typing import Any

import pytest

from balsam.client.errors import NotFoundError, ServerRefused
from balsam.client.jobs import patch_jobs
from balsam.client.transport import Client
from balsam.core.states import JobState, is_legal_walk
from tests.server.lab import Lab


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


def test_an_app_without_hooks_needs_only_its_launcher(lab: Lab) -> None:
    [job] = lab.create()
    assert lab.state(job) == "PREPROCESSED"
    session = lab.session(batch_job_id=lab.batch_job()["id"])
    assert lab.acquire(session) == [job]
    lab.run(session, [job])
    expected = ["CREATED", "STAGED_IN", "PREPROCESSED", "RUNNING", "RUN_DONE", "JOB_FINISHED"]
    assert lab.walk(job) == expected
    assert lab.job(job)["session_id"] is None


def test_an_old_clients_app_may_have_every_hook_so_nothing_is_skipped(client: Client) -> None:
    lab = Lab(client, hooks=None)
    [job] = lab.create()
    assert lab.walk(job) == ["CREATED", "STAGED_IN"]
    agent = lab.session(num_nodes=0)
    assert lab.acquire(agent, states=["STAGED_IN"]) == [job]
    lab.move([job], "PREPROCESSED", agent)
    assert lab.job(job)["session_id"] is None


def test_nothing_is_skipped_at_the_site_of_a_published_agent(lab: Lab, client: Client) -> None:
    agent = lab.session(fenced=False, num_nodes=None)
    later = lab.add_app("Later", [])
    changed = client.put(f"/apps/{later['id']}", {"serialized_class": "x", "hooks": []})
    assert later["hooks"] is None and changed["hooks"] is None
    assert lab.state(lab.create()[0]) == "STAGED_IN"
    client.delete(f"/sessions/{agent}")
    assert client.put(f"/apps/{later['id']}", {"hooks": []})["hooks"] == []


def test_the_running_event_carries_the_nodes_that_the_run_takes(lab: Lab) -> None:
    jobs = lab.create(num_nodes=3) + lab.create(node_packing_count=4)
    session = lab.session()
    lab.acquire(session)
    lab.move(jobs, "RUNNING", session)
    weights = [lab.events(job)[-1]["data"]["num_nodes"] for job in jobs]
    assert weights == [3.0, 0.25]


def test_a_child_waits_for_all_its_parents(lab: Lab) -> None:
    parents = lab.create(2)
    [child] = lab.create(parent_ids=parents)
    session = lab.session()
    lab.acquire(session)
    lab.run(session, parents[:1])
    assert lab.state(child) == "AWAITING_PARENTS"
    lab.run(session, parents[1:])
    assert lab.state(child) == "PREPROCESSED"
    assert lab.walk(child)[1:3] == ["AWAITING_PARENTS", "STAGED_IN"]


def test_a_failed_parent_is_an_end_only_where_the_child_says_so(lab: Lab) -> None:
    [parent] = lab.create()
    [strict] = lab.create(parent_ids=[parent])
    [lenient] = lab.create(parent_ids=[parent], parents_must="end")
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [parent], end="RUN_ERROR")
    assert lab.state(parent) == "FAILED"
    assert lab.state(lenient) == "PREPROCESSED"
    assert lab.state(strict) == "AWAITING_PARENTS"
    why = lab.client.get(f"/jobs/{strict}/why")
    assert why["code"] == "parent_failed" and str(parent) in why["sentence"]
    patch_jobs(lab.client, [{"id": strict, "parents_must": "end"}])
    assert lab.state(strict) == "PREPROCESSED"


def test_why_names_what_an_allocation_lacks(lab: Lab) -> None:
    [plain] = lab.create()
    [wide] = lab.create(num_nodes=4)
    [ranks] = lab.create(ranks_per_node=2)
    [tagged] = lab.create(tags={"lane": "a"})

    def why(job: int) -> tuple[str, str]:
        answer = lab.client.get(f"/jobs/{job}/why")
        return answer["code"], answer["sentence"]

    assert why(plain)[0] == "no_allocation"
    batch_job = lab.batch_job(filter_tags={"lane": "a"})["id"]
    assert why(tagged)[0] == "no_agent"  # to submit it
    assert why(plain)[0] == "no_fit_tags" and "lane=a" in why(plain)[1]
    lab.client.put(f"/batch-jobs/{batch_job}", {"state": "finished"})
    lab.batch_job()
    assert "several ranks or nodes" in why(wide)[1]
    assert "several ranks" in why(ranks)[1]
    [greedy] = lab.create(gpus_per_rank=2, mem_mb_per_rank=100)
    running = lab.batch_job()["id"]
    lab.client.put(f"/batch-jobs/{running}", {"state": "running"})
    lab.session(batch_job_id=running)
    assert "2 GPUs and 100 MB" in why(greedy)[1]
    lab.client.delete(f"/jobs/{greedy}")
    newest = lab.client.get("/jobs/why", {"ordering": "-id", "limit": 2})
    assert [answer["job_id"] for answer in newest] == [tagged, ranks]


def test_a_deleted_parent_is_told(lab: Lab) -> None:
    [parent] = lab.create()
    [child] = lab.create(parent_ids=[parent])
    lab.client.delete(f"/jobs/{parent}")
    assert lab.client.get(f"/jobs/{child}/why")["code"] == "parent_gone"


def test_max_restarts_ends_a_job_that_always_outlives_its_allocation(lab: Lab) -> None:
    [job] = lab.create(max_restarts=1)
    for _ in range(2):
        session = lab.session()
        assert lab.acquire(session) == [job]
        lab.run(session, [job], end="RUN_TIMEOUT")
    assert lab.state(job) == "FAILED"
    assert "max_restarts" in lab.client.get(f"/jobs/{job}/why")["sentence"]


def test_a_failed_job_tells_why(lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    lab.move([job], "RUN_ERROR", session, state_data={"returncode": 2, "error": "sh: x: not found\n"})
    failed = lab.events(job)[-1]
    assert failed["to_state"] == "FAILED" and failed["data"]["returncode"] == 2
    assert lab.job(job)["return_code"] == 2
    assert "sh: x: not found" in lab.client.get(f"/jobs/{job}/why")["sentence"]


def test_an_owner_may_force_a_job_that_nobody_holds_and_the_event_says_so(lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [job], end="RUN_ERROR")
    lab.client.put(f"/jobs/{job}", {"state": "RESTART_READY"})
    assert lab.events(job)[-1]["data"]["forced"] is True
    assert lab.state(job) == "RESTART_READY"


def test_a_forced_running_job_is_left_out_of_utilization(lab: Lab) -> None:
    [job] = lab.create()
    lab.move([job], "RUNNING")
    assert lab.client.get("/analytics/events/utilization", {"job_id": job})["values"] == []
    assert lab.client.get(f"/jobs/{job}/why")["code"] == "running_unheld"


def test_only_the_holder_moves_a_held_job_but_the_owner_changes_its_other_fields(lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    count, refused = lab.move([job], "RUNNING")
    assert (count, refused[0][0]) == (0, job) and f"session {session}" in refused[0][1]
    assert lab.move([job], "RUNNING", session + 1)[0] == 0
    assert patch_jobs(lab.client, [{"id": job, "priority": 3, "tags": {"a": "b"}}]) == (1, [])
    assert lab.client.get("/jobs/", {"tags": {"a": "b"}})["count"] == 1
    with pytest.raises(ServerRefused, match="is held by session"):
        lab.client.put(f"/jobs/{job}", {"state": "FAILED"})


def test_one_bad_item_never_poisons_the_others(lab: Lab) -> None:
    good, bad = lab.create(2)
    items: list[dict[str, Any]] = [
        {"id": good, "data": {"a": 1}},
        {"id": bad, "state": "RUNNING", "state_timestamp": "2999-01-01T00:00:00"},
        {"id": 10**12, "num_nodes": 1},
    ]
    count, refused = patch_jobs(lab.client, items)
    assert count == 1
    assert {job: reason.split(":")[1].strip()[:10] for job, reason in refused if job == bad}
    assert [job for job, _ in refused] == [bad, 10**12]
    assert lab.job(good)["data"] == {"a": 1}


def test_items_with_different_fields_are_all_applied(lab: Lab) -> None:
    one, two = lab.create(2)
    items: list[dict[str, Any]] = [
        {"id": one, "num_nodes": 2},
        {"id": two, "serialized_return_value": "abc", "state_data": {}, "data": {"k": [1]}},
    ]
    assert patch_jobs(lab.client, items) == (2, [])
    assert lab.job(one)["num_nodes"] == 2
    assert lab.job(two)["serialized_return_value"] == "abc"


def test_creating_is_all_or_nothing(lab: Lab) -> None:
    jobs = [{"workdir": "w", "app_id": lab.app["id"]}, {"workdir": "w", "app_id": 10**9}]
    with pytest.raises(NotFoundError, match="Double check app_id"):
        lab.client.post("/jobs/", jobs)
    assert lab.client.get("/jobs/", {"site_id": lab.site["id"]})["count"] == 0


def test_whoever_forces_a_job_past_max_restarts_means_it(lab: Lab) -> None:
    [job] = lab.create(max_restarts=0)
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [job], end="RUN_TIMEOUT")
    assert lab.state(job) == "FAILED"
    lab.client.put(f"/jobs/{job}", {"state": "RESTART_READY"})
    assert lab.state(job) == "RESTART_READY"


def test_a_forced_running_counts_as_no_run(lab: Lab) -> None:
    [job] = lab.create()
    lab.move([job], "RUNNING")
    lab.move([job], "RESTART_READY")
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [job])
    assert lab.job(job)["num_runs"] == 1


def test_a_foreign_batch_job_is_refused(lab: Lab) -> None:
    [job] = lab.create()
    count, refused = patch_jobs(lab.client, [{"id": job, "batch_job_id": 10**9}])
    assert count == 0 and "there is no BatchJob" in refused[0][1]


@pytest.mark.parametrize("workdir", ["/absolute", "../outside", "a/../../b", "", "."])
def test_workdirs_stay_inside_the_site(lab: Lab, workdir: str) -> None:
    with pytest.raises(ServerRefused, match="workdir"):
        lab.create(workdir=workdir)


def test_a_parent_that_does_not_exist_is_named(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="999999"):
        lab.create(parent_ids=[999999])


def test_staging_moves_a_job_along(client: Client) -> None:
    slots = {
        "infile": {"required": True, "direction": "in", "local_path": "in.txt"},
        "outfile": {"required": True, "direction": "out", "local_path": "out.txt"},
    }
    lab = Lab(client, hooks=[], transfers=slots)
    items = {name: {"location_alias": "dtn", "path": f"/far/{name}"} for name in slots}
    [job] = lab.create(transfers=items)
    assert lab.state(job) == "READY"
    hasty = lab.session()
    assert lab.acquire(hasty, states=["READY"]) == [job]
    assert "not all of its files" in lab.move([job], "STAGED_IN", hasty)[1][0][1]
    client.delete(f"/sessions/{hasty}")
    [stage_in] = client.get("/transfers/", {"job_id": job, "direction": "in"})["results"]
    assert (stage_in["state"], stage_in["recursive"]) == ("pending", False)
    client.patch("/transfers/", [{"id": stage_in["id"], "state": "done"}])
    assert lab.state(job) == "PREPROCESSED"
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [job])
    assert lab.state(job) == "POSTPROCESSED"
    [stage_out] = client.get("/transfers/", {"job_id": job, "direction": "out"})["results"]
    assert stage_out["state"] == "pending"
    client.put(f"/transfers/{stage_out['id']}", {"state": "done"})
    assert lab.state(job) == "JOB_FINISHED"
    assert is_legal_walk([JobState(state) for state in lab.walk(job)])
    lab.client.put(f"/jobs/{job}", {"state": "RESTART_READY"})
    lab.acquire(session)
    lab.run(session, [job])
    assert lab.state(job) == "POSTPROCESSED", "a new run makes new output"
    client.put(f"/transfers/{stage_out['id']}", {"state": "error", "transfer_info": {"error": "no space"}})
    assert "no space" in client.get(f"/jobs/{job}/why")["sentence"]


def test_report_of_a_holder_whose_clock_is_ahead_is_taken_at_the_servers_time(lab: Lab) -> None:
    """Refused, it would be refused for ever: the job would run again, or its hook never count."""
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    assert lab.move([job], "RUNNING", session, state_timestamp="2999-01-01T00:00:00") == (1, [])
    event = lab.events(job)[-1]
    assert event["to_state"] == "RUNNING" and event["timestamp"] < "2999"
    assert "ahead of the server's clock" in event["data"]["clock"]
