"""A job's life as a bar: a segment for each stay in a state. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam.core.states import DONE_STATES

WIDTH = 1000.0
NARROWEST = 3.0  # a run of a second after three days of waiting is to be seen, too


@dataclass(frozen=True, slots=True)
class Segment:
    """A stay in a state; `end` None: it goes on. `x` and `width` are of WIDTH."""

    state: str
    start: int
    end: int | None
    attempt: int
    x: float = 0.0
    width: float = 0.0


def stays(events: Sequence[Mapping[str, Any]], state: str, since: int) -> list[Segment]:
    """From a job's events, oldest first, and the state in which it is now."""
    found: list[Segment] = []
    attempt = 0
    for event in events:
        if event["from_state"] == "CREATED" and event["entered"] == event["timestamp"]:
            continue  # the instant of its making
        attempt += event["from_state"] == "RUNNING"
        found.append(
            Segment(event["from_state"], event["entered"], max(event["entered"], event["timestamp"]), attempt)
        )
    if state not in DONE_STATES:
        found.append(Segment(state, since, None, attempt + (state == "RUNNING")))
    return found


def laid_out(segments: Sequence[Segment], now: int) -> list[Segment]:
    """Side by side in the proportions of their lengths, but each wide enough to be seen."""
    if not segments:
        return []
    lengths = [max(0, (now if one.end is None else one.end) - one.start) for one in segments]
    least = min(NARROWEST, WIDTH / len(segments))
    total = sum(lengths) or 1
    free = WIDTH - least * len(segments)
    placed, x = [], 0.0
    for one, length in zip(segments, lengths, strict=True):
        width = least + free * length / total
        placed.append(Segment(one.state, one.start, one.end, one.attempt, round(x, 2), round(width, 2)))
        x += width
    return placed
