"""Jobs that failed otherwise than by the error of a run: in a hook, by a kill, cut off too often."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from balsam.core.failure_text import normal
from balsam.core.states import JobState
from balsam.logic.signature import failure
from balsam.store import event_lists
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

LOOKED_AT = 1_000
_BEFORE = [state.value for state in JobState if state is not JobState.run_error]


@dataclass(slots=True)
class Cause:
    """`last`: microseconds since 1970 of the newest."""

    text: str
    last: int
    job_ids: list[int] = field(default_factory=list)


def other_failures(conn: Connection, owner: Owner, after: int) -> list[Cause]:
    """By cause, the most frequent first; of the newest LOOKED_AT since then."""
    f = EventFilter(to_state=[JobState.failed], from_state=_BEFORE, timestamp_after=after)
    found: dict[str, Cause] = {}
    for row in event_lists.page(conn, owner, f, Page(limit=LOOKED_AT, order="-timestamp")):
        text = normal(failure(row["data"])) or f"failed in {row['from_state']}"
        found.setdefault(text, Cause(text, row["timestamp"])).job_ids.append(row["job_id"])
    return sorted(found.values(), key=lambda one: -len(one.job_ids))
