"""What is left of a launcher's nodes, and nodes that are kept for a run that has waited too long.

Values only: no processes; times are of `time.monotonic()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from balsam.core.plural import counted
from balsam.launcher.placement import SLACK, Need, NodeRoom, Share
from balsam.platform.nodes import Node

NOBODYS: frozenset[str] = frozenset()
MAX_NEEDS_KNOWN = 64
REST_SEC, LONGEST_REST_SEC = 1.0, 60.0
MOST_REFUSALS = 10  # in a row: after five minutes a node is left out
PROBE_SEC = 2.0  # what has not been refused by then has started


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes that are kept for one run: others start there only if they are over by `at`."""

    nodes: frozenset[str]
    at: float


class Room:
    """The nodes of one launcher, in their order: runs fill the first ones first, whole nodes come last."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._rooms: dict[str, NodeRoom] = {}
        self._order: list[NodeRoom] = []
        self.gpu_maker: str | None = None  # whose GPUs the nodes have; None without any
        self._never: dict[Need, str | None] = {}
        self._resting: dict[str, float] = {}  # until when
        self._refusals: dict[str, int] = {}  # in a row
        self._probed: dict[str, float] = {}  # nodes on which one run is tried, until when
        for node in nodes:
            self.add(node)
        # For each need, the place of the first node on which it may fit: those before it are full.
        self._first: dict[Need, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    @property
    def nodes(self) -> list[Node]:
        return [room.node for room in self._order]

    def has(self, names: Collection[str]) -> bool:
        """Whether all these nodes are still there."""
        return all(name in self._rooms for name in names)

    def add(self, node: Node) -> None:
        room = self._rooms[node.name] = NodeRoom(node)
        self._order.append(room)
        self._never.clear()
        if self.gpu_maker is None and node.gpus:
            self.gpu_maker = node.gpu_maker

    def rest(self, names: Collection[str], now: float) -> None:
        """Nodes that can't start anything get nothing for a while, longer each time; they do not count.

        Then one run is tried on each.
        """
        for name in self._rooms.keys() & set(names) - self._resting.keys():
            count = self._refusals[name] = self._refusals.get(name, 0) + 1
            self._probed.pop(name, None)
            self._resting[name] = now + min(LONGEST_REST_SEC, REST_SEC * 2.0 ** (count - 1))
        self._line_up()

    def wake(self, now: float) -> None:
        """Nodes that have rested count again, and those on which what was tried has started."""
        self.works([name for name, until in self._probed.items() if now >= until])
        rested = [name for name, until in self._resting.items() if now >= until]
        for name in rested:
            del self._resting[name]
        if rested:
            self._line_up()

    def works(self, names: Iterable[str]) -> None:
        """Something has started on these nodes: what they refused is forgotten."""
        if self._refusals:
            for name in names:
                self._refusals.pop(name, None)
                if self._probed.pop(name, None) is not None:
                    self._line_up()

    @property
    def failing(self) -> list[str]:
        """Nodes that have refused the last run that was tried there."""
        return list(self._refusals)

    @property
    def hopeless(self) -> list[str]:
        """Nodes that have refused too often in a row."""
        return [name for name, count in self._refusals.items() if count >= MOST_REFUSALS]

    @property
    def has_resting(self) -> bool:
        return bool(self._resting or self._probed)

    def _line_up(self) -> None:
        self._order = [
            room for name, room in self._rooms.items() if name not in self._resting.keys() | self._probed
        ]
        self._first.clear()
        self._never.clear()

    def free_nodes(self, kept: Reservation | None = None) -> float:
        """What nobody uses or has reserved."""
        avoid = NOBODYS if kept is None else kept.nodes
        return sum(1.0 - room.occupancy for room in self._order if room.node.name not in avoid)

    @property
    def idle_nodes(self) -> int:
        return sum(room.is_idle for room in self._order)

    @property
    def places(self) -> int:
        """How many small runs might start: a core each of what is free, one at least where anything is."""
        free = sum((1.0 - room.occupancy) * len(room.node.cpus) for room in self._order)
        return max(math.floor(free + SLACK), int(free > SLACK))

    @property
    def cores(self) -> int:
        return sum(len(room.node.cpus) for room in self._order)

    def never_fits(self, need: Need) -> str | None:
        """Why a run does not fit even when nothing else runs, or None."""
        if need not in self._never:
            if len(self._never) > MAX_NEEDS_KNOWN:
                self._never.clear()
            self._never[need] = self._why_never(need)
        return self._never[need]

    def _why_never(self, need: Need) -> str | None:
        reasons = [room.never_fits(need) for room in self._order]
        able = reasons.count(None)
        if able >= need.nodes:
            return None
        if able == 0 and reasons:
            return reasons[0]
        return f"it asks for {counted(need.nodes, 'node')}, and this launcher has {able}"

    def take(self, need: Need, until: float = math.inf, kept: Reservation | None = None) -> Share | None:
        """Books a run, if it fits now; `kept`: what somebody else has reserved."""
        avoid = NOBODYS if kept is None or until <= kept.at else kept.nodes
        chosen = self._one(need, avoid) if need.nodes == 1 else self._several(need, avoid)
        if chosen is None:
            return None
        share = Share(tuple(room.take(need, until) for room in chosen), until)
        self._probe(share.nodes)
        return share

    def _probe(self, names: Iterable[str]) -> None:
        """Nodes that refused what came last get one run for now."""
        tried = self._refusals.keys() & set(names)
        if tried:
            self._probed |= dict.fromkeys(tried, time.monotonic() + PROBE_SEC)
            self._line_up()

    def give_back(self, need: Need, share: Share) -> None:
        """The run is over. Nodes that are lost meanwhile are passed over."""
        for seat in share.seats:
            room = self._rooms.get(seat.node)
            if room is not None:
                room.give_back(need, seat, share.until)
                self._freed(room)

    def lose(self, name: str) -> None:
        """The node is not there any more."""
        self._resting.pop(name, None)
        self._probed.pop(name, None)
        self._refusals.pop(name, None)
        if self._rooms.pop(name, None) is not None:
            self._line_up()

    def count_of(self, need: Need) -> int:
        """How many more of such runs fit, as far as occupancy and cores go."""
        if need.nodes == 1:
            return sum(room.count_of(need) for room in self._order)
        return self.idle_nodes // need.nodes

    def reserve(self, need: Need, now: float) -> Reservation | None:
        """The nodes that should be free for the run first; None where there are not enough."""
        able = [room for room in self._order if room.never_fits(need) is None]
        if len(able) < need.nodes:
            return None
        soonest = sorted(able, key=lambda room: (room.free_at(), room.occupancy))[: need.nodes]
        at = max(now, *(room.free_at() for room in soonest))
        return Reservation(frozenset(room.node.name for room in soonest), at if at < math.inf else now)

    def _one(self, need: Need, avoid: Collection[str]) -> list[NodeRoom] | None:
        start = self._first.get(need, 0)
        full_so_far = True
        if len(self._first) > MAX_NEEDS_KNOWN:
            self._first.clear()
        for place in range(start, len(self._order)):
            room = self._order[place]
            fits = room.fits(need)
            if full_so_far and fits:
                self._first[need] = place
                full_so_far = False
            if fits and room.node.name not in avoid:
                return [room]
        if full_so_far:
            self._first[need] = len(self._order)
        return None

    def _several(self, need: Need, avoid: Collection[str]) -> list[NodeRoom] | None:
        chosen = []
        for room in reversed(self._order):
            if room.is_idle and room.node.name not in avoid and room.fits(need):
                chosen.append(room)
                if len(chosen) == need.nodes:
                    return chosen[::-1]
        return None

    def _freed(self, room: NodeRoom) -> None:
        if room.node.name in self._resting or room.node.name in self._probed:
            return
        place = self._order.index(room)
        for need, first in self._first.items():
            if place < first:
                self._first[need] = place
