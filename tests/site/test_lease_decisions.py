"""What an agent does about the server's answer to its claim of the site: values in, values out."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.schemas.agents import AgentHolder, AgentPlace, LeaseOut
from balsam.site.lease import Elsewhere, Granted, Replace, Step, Wait, elsewhere, next_step

PLACE: dict[str, Any] = {"host": "login1", "boot_id": "b1", "pid": 7, "process": "b1:7"}
PLACE |= {"folder": "64:1001", "path": "/work/site"}
MINE = AgentPlace(instance="instance-1", **PLACE)


def holder(seen: int = 100, **values: Any) -> AgentHolder:
    return AgentHolder(**{"instance": "instance-2", **PLACE, **values}, since=50, seen=seen)


@pytest.mark.parametrize(
    ("granted", "lives", "first", "step"),
    [
        (True, None, None, Granted),
        (False, True, None, Elsewhere),
        (False, False, None, Replace),
        (False, None, None, Wait),
        (False, None, holder(100), Wait),  # it has not been heard of since
        (False, None, holder(90), Elsewhere),  # it beats
        (False, None, holder(100, instance="instance-3"), Elsewhere),
    ],
)
def test_a_claim_is_granted_waits_or_ends(
    granted: bool, lives: bool | None, first: AgentHolder | None, step: type[Step]
) -> None:
    answer = LeaseOut(granted=granted, holder=holder(), lease_sec=45)
    assert isinstance(next_step(MINE, answer, lives, first), step)


def test_the_sentence_says_where_and_what_to_do() -> None:
    told = elsewhere(MINE, holder(host="login9"))
    assert "host login9, process 7, in /work/site, since 1970-01-01 00:00:00 UTC" in told
    assert told.endswith("stop it there with `balsam site stop`")
    assert "if it is a copy" in elsewhere(MINE, holder(path="/work/original", folder="64:5"))
