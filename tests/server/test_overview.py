"""Counts by group, the overview of a live view, and the stream of mere hints that tells when to look."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from tests.server.lab import Lab
from tests.server.listener import Listener
from tests.services import PasswordServer, User


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


def counts(lab: Lab, **query: Any) -> dict[tuple[Any, str], int]:
    rows = lab.client.get("/jobs/counts", query)
    return {(row["group"], row["state"]): row["count"] for row in rows}


def test_jobs_are_counted_by_group(lab: Lab) -> None:
    lab.create(2, tags={"lane": "a"})
    [parent] = lab.create(1, tags={"lane": "b"})
    lab.create(1, parent_ids=[parent])
    other = lab.add_app("Other", [])
    lab.create(3, app_id=other["id"], tags={"lane": "a"})
    waiting, parents, name = "PREPROCESSED", "AWAITING_PARENTS", lab.site["name"]
    assert counts(lab) == {(None, waiting): 6, (None, parents): 1}
    assert counts(lab, group_by="app") == {("App", waiting): 3, ("App", parents): 1, ("Other", waiting): 3}
    assert counts(lab, group_by="site") == {(name, waiting): 6, (name, parents): 1}
    assert counts(lab, group_by="tag:lane") == {("a", waiting): 5, ("b", waiting): 1, (None, parents): 1}
    assert counts(lab, group_by="tag:lane", tags=["lane:a"], app_id=[other["id"]]) == {("a", waiting): 3}
    assert counts(lab, group_by="tag:none") == {(None, waiting): 6, (None, parents): 1}
    assert counts(lab, state=["FAILED"]) == {}


def test_a_group_that_jobs_do_not_have_is_refused(lab: Lab) -> None:
    with pytest.raises(ServerRefused, match="group_by='colour' is none of"):
        counts(lab, group_by="colour")


def test_nobody_counts_the_jobs_and_tags_of_others(lab: Lab, password_server: PasswordServer) -> None:
    lab.create(2, tags={"lane": "a"})
    with password_server.new_user().client as theirs:
        other = Lab(theirs, hooks=[])
        other.create(1, tags={"lane": "b"})
        assert counts(other, group_by="tag:lane") == {("b", "PREPROCESSED"): 1}
        assert counts(other, group_by="tag:lane", app_id=[lab.app["id"]]) == {}
        seen = theirs.get("/overview")
    assert [site["name"] for site in seen["sites"]] == [other.site["name"]]
    assert seen["sites"][0]["jobs_by_state"] == {"PREPROCESSED": 1}
    assert (seen["allocations"], seen["failures"]) == ([], [])


def test_the_overview_tells_of_sites_allocations_rates_and_failures(lab: Lab) -> None:
    session = lab.session()
    jobs = lab.create(4)
    assert sorted(lab.acquire(session)) == jobs
    lab.run(session, jobs[:2])
    lab.move(jobs[2:], "RUNNING", session)
    error = {"returncode": 3, "error": "no such mesh 0x7f"}
    lab.move([jobs[2]], "RUN_ERROR", session, state_data=error)
    lab.move([jobs[3]], "RUN_ERROR", session, state_data={"returncode": 3, "error": "no such mesh 0x1a"})
    [unstarted] = lab.create()
    lab.move(lab.acquire(session), "FAILED", session, state_data={"error": "no such template"})
    lab.create(1)
    allocation = lab.batch_job(num_nodes=3)
    seen = lab.client.get("/overview")
    [site] = seen["sites"]
    assert site["jobs_by_state"] == {"JOB_FINISHED": 2, "FAILED": 3, "PREPROCESSED": 1}
    assert (site["started_per_min"], site["finished_per_min"], site["failed_per_min"]) == (4, 2, 3)
    assert not site["agent_alive"] and "balsam site start" in site["health"]
    [shown] = seen["allocations"]
    assert (shown["id"], shown["num_nodes"], shown["state"]) == (allocation["id"], 3, "pending_submission")
    by_run, by_start = seen["failures"]
    assert (by_run["count"], by_run["newest_job_id"]) == (2, jobs[3])
    assert "no such mesh" in by_run["signature"] and by_run["tail"] == "no such mesh 0x1a"
    assert (by_start["count"], by_start["newest_job_id"]) == (1, unstarted)
    assert seen["failures_read"] == 3


def test_a_stream_of_hints_says_that_there_are_events_and_brings_none(
    lab: Lab, password_server: PasswordServer, user: User
) -> None:
    with Listener(password_server, user, only_hints=True) as listener:
        listener.get("changed")  # it may have missed what came before
        for _ in range(20):
            lab.create()
        told = 1
        assert listener.get("changed", "events").data == {"site_ids": [lab.site["id"]]}
        with pytest.raises(TimeoutError):
            while True:
                assert listener.get("changed", "events", timeout=1.0).name == "changed"
                told += 1
        assert told < 20
