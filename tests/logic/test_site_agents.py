"""Which agent holds a site, and which one submits a BatchJob: values in, values out."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.core.states import BatchJobState
from balsam.logic.site_agents import LEASE_SEC, decide, is_over, same_folder, state_of, submission_refusal
from balsam.schemas.agents import AgentClaim

SEC = 1_000_000
NOW = 1_000_000 * SEC
LEASE = int(LEASE_SEC * SEC)


def claim(instance: str = "instance-1", **values: Any) -> AgentClaim:
    place: dict[str, Any] = {"host": "login1", "boot_id": "b1", "pid": 7, "process": "b1:7"}
    place |= {"folder": "64:1001", "path": "/work/site"}
    return AgentClaim(instance=instance, **{**place, **values})


def record(**values: Any) -> dict[str, Any]:
    made = decide(None, claim(), NOW, 0).record
    return {**made, **values}


def test_the_first_one_is_let_in_and_renews() -> None:
    first = decide(None, claim(), NOW, 0)
    assert first.granted and first.record["since"] == NOW
    again = decide(first.record, claim(), NOW + 10 * SEC, 0)
    assert again.granted and (again.record["since"], again.record["seen"]) == (NOW, NOW + 10 * SEC)


def test_a_second_one_is_refused_and_noted() -> None:
    told = decide(record(), claim("instance-2", host="login2", path="/work/copy"), NOW + SEC, 0)
    assert not told.granted and told.record["instance"] == "instance-1" and told.record["seen"] == NOW
    assert told.record["refused"] == {"host": "login2", "path": "/work/copy", "at": NOW + SEC}


@pytest.mark.parametrize(
    ("after", "up_since", "granted"),
    [
        (LEASE - SEC, 0, False),
        (LEASE + SEC, 0, True),
        (LEASE + SEC, NOW + LEASE, False),  # nobody could renew it before the server was up again
        (3 * LEASE, NOW + LEASE, True),
    ],
)
def test_a_lease_ends_by_silence_while_the_server_is_up(after: int, up_since: int, granted: bool) -> None:
    assert decide(record(), claim("instance-2"), NOW + after, up_since).granted is granted


def test_a_lease_that_was_ended_or_whose_holder_is_seen_dead_goes_at_once() -> None:
    assert decide(record(ended=NOW), claim("instance-2"), NOW, 0).granted
    assert decide(record(), claim("instance-2", replaces="instance-1"), NOW, 0).granted
    assert not decide(record(), claim("instance-2", replaces="instance-0"), NOW, 0).granted


def test_an_agent_works_is_silent_or_has_stopped() -> None:
    assert state_of(record(), NOW + 50 * SEC) == "works"
    assert state_of(record(), NOW + 61 * SEC) == "silent"
    assert state_of(record(ended=NOW), NOW) == "stopped" and is_over(record(ended=NOW), NOW, 0)


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"path": "/a/link"}, True),
        ({"folder": "64:1002"}, False),
        ({"folder": "65:1001"}, False),
        # Another host numbers the devices of a shared filesystem in its own way.
        ({"boot_id": "b2", "folder": "99:1001"}, True),
        ({"boot_id": "b2", "folder": "99:1001", "path": "/work/copy"}, False),
        ({"boot_id": "b2", "folder": "99:1002"}, False),
    ],
)
def test_folders_are_told_apart_by_device_and_inode(values: dict[str, Any], same: bool) -> None:
    assert same_folder(record(), record(**values)) is same


def batch_job(**values: Any) -> dict[str, Any]:
    return {"id": 5, "state": BatchJobState.pending_submission, "submitting_by": None, **values}


def test_only_the_holder_of_the_site_submits_and_only_what_waits_for_it() -> None:
    assert submission_refusal(batch_job(), record(), "instance-1") is None
    assert "login1, in /work/site" in str(submission_refusal(batch_job(), record(), "instance-2"))
    assert "nobody" in str(submission_refusal(batch_job(), None, "instance-1"))
    for state in BatchJobState:
        if state is not BatchJobState.pending_submission:
            told = submission_refusal(batch_job(state=state), record(), "instance-1")
            assert told == f"BatchJob 5 is {state}: it is not to be submitted"


def test_what_a_dead_agent_had_claimed_is_submitted_in_its_folder_alone() -> None:
    """Its records there, or the batch system, tell whether it was submitted; a copy of the folder can't."""
    before = record(instance="instance-0", host="login2", boot_id="b2", folder="99:1001")
    assert submission_refusal(batch_job(submitting_by=before), record(), "instance-1") is None
    elsewhere = {**before, "path": "/work/original"}
    told = submission_refusal(batch_job(submitting_by=elsewhere), record(), "instance-1")
    assert told is not None and "login2 in /work/original" in told and "queue term --id 5" in told
