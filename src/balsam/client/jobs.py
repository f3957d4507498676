"""Bulk updates of jobs, with what the server refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from balsam.client.encoding import json_body

if TYPE_CHECKING:
    from balsam.client.transport import Client

_TREES = frozenset({"data", "parameters_json"})
Refusals = list[tuple[int, str]]


def create_jobs(client: Client, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Creates all of the jobs or none; their rows. What was sent does not travel back."""
    answer = client.request("POST", "/jobs/", body=bodies, prefer="return=minimal").body
    if isinstance(answer, list):  # a server that has not heard of this preference
        return answer
    each: dict[str, list[Any]] = answer["each"]
    own = [dict(zip(each, values, strict=True)) for values in zip(*each.values(), strict=True)]
    return [{**answer["all"], **_as_row(body), **row} for body, row in zip(bodies, own, strict=True)]


# The server also takes "2" and 2.0 for 2.
_NUMBERS: dict[str, type[int] | type[float]] = {"gpus_per_rank": float, "return_code": int} | dict.fromkeys(
    (
        "num_nodes",
        "ranks_per_node",
        "threads_per_rank",
        "threads_per_core",
        "node_packing_count",
        "wall_time_min",
        "priority",
        "max_restarts",
        "mem_mb_per_rank",
    ),
    int,
)


def _as_row(body: dict[str, Any]) -> dict[str, Any]:
    """As the server stores and answers it, and nobody's but the row's."""
    row = {}
    for name, value in body.items():
        if name in _TREES and value:
            row[name] = orjson.loads(json_body(value))  # e.g. tuples have become lists
        elif name in _NUMBERS and value is not None:
            row[name] = _NUMBERS[name](value)
        elif name != "transfers":
            row[name] = value
    return row


def patch_jobs(
    client: Client, items: Sequence[dict[str, Any]], session_id: int | None = None, key: str | None = None
) -> tuple[int, Refusals]:
    """Applies one update per item (each with `id`); answers how many were applied, and the refused ones.

    `session_id`: the session on whose behalf states are changed (the fence).
    """
    answer = client.request("PATCH", "/jobs/", body=list(items), params={"session_id": session_id}, key=key)
    return int(answer.body), refusals(answer.headers.get("Balsam-Refused"))


def report_jobs(
    client: Client, lines: Sequence[bytes], session_id: int, key: str | None = None
) -> list[tuple[int, str]]:
    """What a session tells of its jobs, each line the JSON of one item; a job may occur several times.

    (place among the lines, reason) of all that were refused.
    """
    answer = client.request(
        "PATCH",
        "/jobs/",
        body=[orjson.Fragment(line) for line in lines],
        params={"session_id": session_id},
        key=key,
        prefer="return=representation",
    )
    return [(int(place), str(reason)) for place, _, reason in answer.body["refused"]]


def refusals(header: str | None) -> Refusals:
    """Pairs of job id and reason."""
    return [(int(number), str(reason)) for number, reason in orjson.loads(header)] if header else []
