"""Which run was on which node when, as bars that do not overlap: values in, values out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

NOWHERE = ""  # runs whose launcher named no node


@dataclass(frozen=True, slots=True)
class Bar:
    """A run on one node. `end` None: it goes on. Bars of one lane of a node do not overlap."""

    start: int
    end: int | None
    run_id: int
    job_id: int
    app: str
    end_state: str | None
    lane: int = 0


def by_node(bars: Iterable[tuple[list[str], Bar]]) -> dict[str, list[Bar]]:
    """The bars of each node, by start, in as few lanes as there are runs at a time."""
    nodes: dict[str, list[Bar]] = {}
    for names, bar in bars:
        for name in names or [NOWHERE]:
            nodes.setdefault(name, []).append(bar)
    return {name: in_lanes(nodes[name]) for name in sorted(nodes)}


def in_lanes(bars: Iterable[Bar]) -> list[Bar]:
    """Each bar in the lowest lane that is free at its start."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    placed: list[Bar] = []
    for bar in sorted(bars, key=lambda one: (one.start, one.run_id)):
        while busy and busy[0][0] <= bar.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        end = float("inf") if bar.end is None else max(bar.start, bar.end)
        heapq.heappush(busy, (end, lane))
        placed.append(Bar(bar.start, bar.end, bar.run_id, bar.job_id, bar.app, bar.end_state, lane))
    return placed
