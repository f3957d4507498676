"""Jobs that are ready to start, and which of them comes next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.launcher.apps import AppPlan
from balsam.launcher.command import Command
from balsam.launcher.placement import SLACK, Need, Share
from balsam.launcher.room import Reservation, Room

OVERTAKE_SEC = 30.0  # others may start before a run that does not fit, for so long

OrderKey = tuple[int, ...]


def order_key(job: Mapping[str, Any], *, long_first: bool) -> OrderKey:
    """Priority, then what the site's `sort_by` or the published default says; as the server hands out."""
    size = (job["num_nodes"], -job["node_packing_count"], -job["wall_time_min"])
    if long_first:
        size = (-job["wall_time_min"], -job["num_nodes"], -job["node_packing_count"])
    return (-job["priority"], *size, job["id"])


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A job that is ready. `command`: of an app with a `run()`, only what stands before that, if anything."""

    job: Mapping[str, Any]
    plan: AppPlan
    command: Command | None
    need: Need
    key: OrderKey

    def __lt__(self, other: Waiting) -> bool:
        return self.key < other.key

    def until(self, now: float) -> float:
        """When it will be over by its own wall time."""
        minutes: int = self.job["wall_time_min"]
        return now + 60 * minutes if minutes else math.inf


@dataclass(frozen=True, slots=True)
class _Kept:
    """Nodes that are kept for the next run of one need."""

    need: Need
    priority: int
    nodes: Reservation


class Backlog:
    """Grouped by need: whether a run fits is looked at once for all that need the same.

    Others may overtake a run that does not fit. But where none of its need has started for OVERTAKE_SEC,
    nodes are kept for it: others start there only if their wall time ends before these are free, or if they
    have a higher priority. So it gets its turn, however many others come.
    """

    def __init__(self) -> None:
        self._groups: dict[Need, list[Waiting]] = {}
        self._count = 0
        self._stuck_since: dict[Need, float] = {}
        self._kept: _Kept | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiting]:
        for group in self._groups.values():
            yield from group

    @property
    def kept(self) -> Reservation | None:
        return None if self._kept is None else self._kept.nodes

    def count_heavier(self, nodes: float) -> int:
        """How many take more than so many nodes each."""
        return sum(len(group) for need, group in self._groups.items() if need.weight > nodes + SLACK)

    def job_ids(self) -> set[int]:
        return {waiting.job["id"] for waiting in self}

    def add(self, waiting: Waiting) -> None:
        heapq.heappush(self._groups.setdefault(waiting.need, []), waiting)
        self._count += 1

    def take_next(self, room: Room, now: float) -> tuple[Waiting, Share] | None:
        """Takes out the job that is to start now, and books its share of the room."""
        self._keep_nodes(room, now)
        for head in sorted(group[0] for group in self._groups.values()):
            kept = self._kept_from(head)
            chosen, share = head, room.take(head.need, head.until(now), kept)
            if share is None and kept is not None:
                chosen = self._over_by(kept.at, head.need, now) or head
                share = room.take(head.need, chosen.until(now), kept)
            if share is not None:
                self._remove(chosen)
                return chosen, share
            self._stuck_since.setdefault(head.need, now)
        return None

    def drop(self, job_ids: Collection[int] | None) -> None:
        """Forgets these jobs; None: all."""
        left = [] if job_ids is None else [waiting for waiting in self if waiting.job["id"] not in job_ids]
        self._groups.clear()
        self._count = 0
        for waiting in left:
            self.add(waiting)
        for need in self._stuck_since.keys() - self._groups.keys():
            del self._stuck_since[need]

    def _kept_from(self, head: Waiting) -> Reservation | None:
        """The nodes on which it may not simply start."""
        kept = self._kept
        if kept is None or kept.need == head.need or head.job["priority"] > kept.priority:
            return None
        return kept.nodes

    def _keep_nodes(self, room: Room, now: float) -> None:
        kept = self._kept
        if kept is not None and kept.need in self._groups and room.has(kept.nodes.nodes):
            return
        self._kept = None
        late = [
            (-self._groups[need][0].job["priority"], since, self._groups[need][0])
            for need, since in self._stuck_since.items()
            if need in self._groups and now - since >= OVERTAKE_SEC
        ]
        if late:
            priority, _, head = min(late)
            nodes = room.reserve(head.need, now)
            self._kept = None if nodes is None else _Kept(head.need, -priority, nodes)

    def _over_by(self, at: float, need: Need, now: float) -> Waiting | None:
        """The first of the same need whose own wall time ends by then."""
        return min((one for one in self._groups[need] if one.until(now) <= at), default=None)

    def _remove(self, chosen: Waiting) -> None:
        group = self._groups[chosen.need]
        if group[0] is chosen:
            heapq.heappop(group)
        else:
            group.remove(chosen)
            heapq.heapify(group)
        if not group:
            del self._groups[chosen.need]
        self._count -= 1
        self._stuck_since.pop(chosen.need, None)
        if self._kept is not None and self._kept.need == chosen.need:
            self._kept = None
