"""Totals: what all jobs came to, those included of which the server keeps nothing more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from balsam.schemas.totals import TotalKey, TotalOut
from balsam.sdk.context import default_client
from balsam.sdk.filters import MATCHES_NOTHING, Filter

if TYPE_CHECKING:
    from balsam.client.transport import Client


def totals(
    *by: TotalKey | str,
    site_id: int | Iterable[int] | None = None,
    app_id: int | Iterable[int] | None = None,
    timestamp_after: datetime | None = None,
    timestamp_before: datetime | None = None,
    client: Client | None = None,
) -> list[TotalOut]:
    """Jobs by the state in which they ended, entries to states, runs by how they ended, and node-hours.

    One row for each combination of `by`: `site_id`, `app_id`, `day`, `state`; without any, one row. Unlike
    all other figures they also count what `balsam server prune` has removed. Of the window only the days
    count, both included. Goes through all events: seconds, where there are millions. ValueError for an
    unknown key.
    """
    for key in by:
        if key not in [*TotalKey]:
            raise ValueError(f"there are no totals by {key!r}: choose from {', '.join(TotalKey)}")
    chosen = {
        name: Filter("totals", name, takes_several=True).read(value)
        for name, value in (("site_id", site_id), ("app_id", app_id))
        if value is not None
    }
    if MATCHES_NOTHING in chosen.values():
        return []
    options = {
        **chosen,
        "by": list(by) or None,
        "timestamp_after": timestamp_after,
        "timestamp_before": timestamp_before,
    }
    found = (client or default_client()).get("/analytics/totals", options)
    return [TotalOut(**row) for row in found]
