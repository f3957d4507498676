"""Bulk updates of jobs, with what the server refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from balsam.client.transport import Client

Refusals = list[tuple[int, str]]


def patch_jobs(
    client: Client, items: Sequence[dict[str, Any]], session_id: int | None = None, key: str | None = None
) -> tuple[int, Refusals]:
    """Applies one update per item (each with `id`); answers how many were applied, and the refused ones.

    `session_id`: the session on whose behalf states are changed (the fence).
    """
    answer = client.request("PATCH", "/jobs/", body=list(items), params={"session_id": session_id}, key=key)
    return int(answer.body), refusals(answer.headers.get("Balsam-Refused"))


def refusals(header: str | None) -> Refusals:
    """Pairs of job id and reason."""
    return [(int(number), str(reason)) for number, reason in orjson.loads(header)] if header else []
