"""Bulk updates of jobs, with what the server refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from balsam.client.encoding import json_body

if TYPE_CHECKING:
    from balsam.client.transport import Client

Refusals = list[tuple[int, str]]


def create_jobs(client: Client, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Creates all of the jobs or none; their rows. What was sent does not travel back.

    The rows take over what the bodies hold, `data` excepted.
    """
    answer = client.request("POST", "/jobs/", body=bodies, prefer="return=minimal").body
    if isinstance(answer, list):  # a server that has not heard of this preference
        return answer
    each: dict[str, list[Any]] = answer["each"]
    own = zip(*each.values(), strict=True)
    return [
        {**answer["all"], **_as_row(body), **dict(zip(each, values, strict=True))}
        for body, values in zip(bodies, own, strict=True)
    ]


def _tree(value: Any) -> Any:
    return orjson.loads(json_body(value))  # e.g. tuples have become lists


# Fields that the server does not answer as they were sent: it takes 2.0 for 2.
_CHANGED: dict[str, Callable[[Any], Any]] = {
    "data": _tree,
    "return_code": int,
    "num_nodes": int,
    "ranks_per_node": int,
    "threads_per_rank": int,
    "threads_per_core": int,
    "gpus_per_rank": float,
    "node_packing_count": int,
    "wall_time_min": int,
    "priority": int,
    "max_restarts": int,
    "mem_mb_per_rank": int,
}


def _as_row(body: dict[str, Any]) -> dict[str, Any]:
    """As the server stores and answers it."""
    different = {
        name: _CHANGED[name](body[name]) for name in body.keys() & _CHANGED.keys() if body[name] is not None
    }
    row = {**body, **different}
    row.pop("transfers", None)
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
