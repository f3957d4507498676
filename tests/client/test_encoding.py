"""Query parameters and bodies in the published forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from balsam.client.encoding import json_body, query_pairs
from balsam.client.sse import BEAT, ServerSentEvent, parse
from balsam.schemas import BatchJobPartition, JobMode, JobState


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ["a"]),
        (5, ["5"]),
        (None, []),
        (True, ["True"]),
        ([1, 2], ["1", "2"]),
        (range(2), ["0", "1"]),
        ({"a": 1, "b": "x:y", "c": ""}, ["a:1", "b:x:y", "c:"]),
        (JobState.failed, ["FAILED"]),
        ([JobState.failed, "RUNNING"], ["FAILED", "RUNNING"]),
        (Path("a/b"), ["a/b"]),
        (datetime(2026, 1, 2, 3, 4, 5), ["2026-01-02T03:04:05+00:00"]),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), ["2026-01-02T01:00:00+00:00"]),
    ],
)
def test_query_values(value: object, texts: list[str]) -> None:
    assert query_pairs({"k": value}) == [("k", text) for text in texts]


def test_bodies_hold_what_fields_hold() -> None:
    body = {
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "ids": {3, 1},
        "path": Path("/x"),
        "uuid": UUID(int=1),
        "part": BatchJobPartition(job_mode=JobMode.mpi, num_nodes=1),
        "queued": {7: "x"},
    }
    assert orjson.loads(json_body(body)) == {
        "when": "2026-01-01T00:00:00+00:00",
        "ids": [1, 3],
        "path": "/x",
        "uuid": str(UUID(int=1)),
        "part": {"job_mode": "mpi", "num_nodes": 1, "filter_tags": {}},
        "queued": {"7": "x"},
    }


def test_stream_messages_are_parsed() -> None:
    lines = [
        "event: hello",
        'data: {"cursor": "e:1"}',
        "",
        ": beat",
        "",
        "id: e:2",
        "event:events",
        "data: [1,",
        "data: 2]",
        "",
        "retry: 5",
        "",
        "event: never-ended",
    ]
    assert list(parse(lines)) == [
        ServerSentEvent("hello", None, {"cursor": "e:1"}),
        BEAT,
        ServerSentEvent("events", "e:2", [1, 2]),
    ]


@pytest.mark.parametrize("halves", ["x\udce9", {"\udce9": "x"}, ["x", "\udcc3\udca9"]])
def test_what_is_no_text_is_refused_with_a_sentence(halves: object) -> None:
    """The kind: bytes of arguments and names of files that the system's encoding could not read."""
    with pytest.raises(ValueError, match="'k' of a query holds half of a character"):
        query_pairs({"k": halves})
    with pytest.raises(ValueError, match=r"holds half of a character .* set LC_ALL"):
        json_body({"k": halves})
