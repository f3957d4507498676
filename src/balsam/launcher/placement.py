"""Which runs fit on a node, and what each gets of it. Values only: no processes, no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from balsam.core.plural import counted
from balsam.core.resources import node_weight
from balsam.platform.nodes import Node

WHOLE_GPU = 1000  # GPUs are shared by thousandths
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What a run takes of each of its nodes; of several nodes it takes the whole.

    `packing`: so many such runs share a node. `cores`: physical ones. `gpu_share`: thousandths of a GPU.
    """

    packing: int = 1
    cores: int = 1
    gpu_share: int = 0
    mem_mb: int = 0
    nodes: int = 1

    @staticmethod
    def of_job(job: Mapping[str, Any], *, may_share_nodes: bool = True) -> Need:
        """From a job's JSON record."""
        return _need(
            job["num_nodes"],
            job["ranks_per_node"],
            job["threads_per_rank"],
            job["threads_per_core"],
            job["gpus_per_rank"],
            job["mem_mb_per_rank"],
            job["node_packing_count"] if may_share_nodes else 1,
        )

    @property
    def weight(self) -> float:
        """The nodes that the run keeps busy."""
        return node_weight(self.nodes, self.packing)


@lru_cache(1024)  # jobs come by thousands that need the same
def _need(
    nodes: int,
    ranks: int,
    threads: int,
    threads_per_core: int,
    gpus_per_rank: float,
    mem_mb_per_rank: int,
    packing: int,
) -> Need:
    return Need(
        packing=max(1, packing) if nodes <= 1 else 1,
        cores=max(1, math.ceil(ranks * threads / max(1, threads_per_core))),
        gpu_share=math.ceil(ranks * gpus_per_rank * WHOLE_GPU - SLACK),
        mem_mb=ranks * mem_mb_per_rank,
        nodes=max(1, nodes),
    )


@dataclass(frozen=True, slots=True)
class Seat:
    """What a run was given of one node; no CPUs where it has to share them with others."""

    node: str
    cpus: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What a run was given, and when (of `time.monotonic()`) its own wall time says that it will be over."""

    seats: tuple[Seat, ...]
    until: float = math.inf

    @property
    def nodes(self) -> list[str]:
        return [seat.node for seat in self.seats]

    @property
    def gpus(self) -> int:
        return sum(len(seat.gpus) for seat in self.seats)


class NodeRoom:
    """What is left of one node.

    A run fits while the occupancies (1 / packing) of all stay within one node, and the GPUs and the memory
    that it asks for are free. Cores count only for a run that asks for more than its share of the node:
    how far the others overbook them is up to their packing.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.occupancy = 0.0
        self._packings: Counter[int] = Counter()
        self._cores = 0
        self._mem_mb = 0
        self._gpus = dict.fromkeys(node.gpus, 0)
        self._free_cpus = list(node.cpus)
        self._ends: Counter[float] = Counter()

    @property
    def is_idle(self) -> bool:
        return not self._packings

    def free_at(self) -> float:
        """When the last of its runs should be over; infinite where one of them does not say."""
        return max(self._ends, default=0.0)

    def never_fits(self, need: Need) -> str | None:
        """Why a run does not fit on this node even when it is empty, or None."""
        if need.gpu_share > WHOLE_GPU * len(self.node.gpus):
            asked = counted(need.gpu_share / WHOLE_GPU, "GPU")
            return f"it asks for {asked} per node, and node {self.node.name} has {len(self.node.gpus)}"
        if need.mem_mb > self.node.mem_mb:
            return f"it asks for {need.mem_mb} MB per node, and node {self.node.name} has {self.node.mem_mb}"
        return None

    def fits(self, need: Need) -> bool:
        return (
            self.occupancy + 1 / need.packing <= 1 + SLACK
            and self._cores_allow(need)
            and self._mem_mb + need.mem_mb <= self.node.mem_mb
            and self._choose_gpus(need) is not None
        )

    def count_of(self, need: Need) -> int:
        """How many more of such runs fit, as far as occupancy and cores go."""
        by_occupancy = math.floor((1 - self.occupancy + SLACK) * need.packing)
        if self._within_share(need):
            return by_occupancy
        asked = min(need.cores, len(self.node.cpus))
        return max(0, min(by_occupancy, (len(self.node.cpus) - self._cores) // asked))

    def take(self, need: Need, until: float) -> Seat:
        """Books a run that fits."""
        gpus = self._choose_gpus(need)
        assert gpus is not None, "take() follows fits()"
        cpus = self._choose_cpus(need)
        del self._free_cpus[: len(cpus)]
        self._book(need, gpus, 1)
        self._ends[until] += 1
        return Seat(self.node.name, cpus, gpus)

    def give_back(self, need: Need, seat: Seat, until: float) -> None:
        self._free_cpus = sorted([*self._free_cpus, *seat.cpus]) if seat.cpus else self._free_cpus
        self._book(need, seat.gpus, -1)
        self._ends[until] -= 1
        if not self._ends[until]:
            del self._ends[until]

    def _book(self, need: Need, gpus: Sequence[str], sign: int) -> None:
        self._packings[need.packing] += sign
        if not self._packings[need.packing]:
            del self._packings[need.packing]
        # Summed anew: what is added and subtracted again and again drifts.
        self.occupancy = sum(count / packing for packing, count in self._packings.items())
        self._cores += sign * min(need.cores, len(self.node.cpus))
        self._mem_mb += sign * need.mem_mb
        for gpu in gpus:
            self._gpus[gpu] += sign * min(WHOLE_GPU, need.gpu_share)

    def _within_share(self, need: Need) -> bool:
        return need.cores <= max(1.0, len(self.node.cpus) / need.packing)

    def _cores_allow(self, need: Need) -> bool:
        # A run that asks for more cores than there are runs alone.
        cores = len(self.node.cpus)
        return self._within_share(need) or min(need.cores, cores) <= cores - self._cores

    def _choose_cpus(self, need: Need) -> tuple[int, ...]:
        """Its share of the node's cores, or what it asks for; none where so many are not free."""
        for count in (max(need.cores, len(self.node.cpus) // need.packing), need.cores):
            if count <= len(self._free_cpus):
                return tuple(self._free_cpus[:count])
        return ()

    def _choose_gpus(self, need: Need) -> tuple[str, ...] | None:
        """Whole GPUs that nobody uses, or for a part of one the fullest with room; None if there are none."""
        if need.gpu_share == 0:
            return ()
        if need.gpu_share < WHOLE_GPU:
            roomy = [gpu for gpu, used in self._gpus.items() if used + need.gpu_share <= WHOLE_GPU]
            return (max(roomy, key=self._gpus.__getitem__),) if roomy else None
        count = math.ceil(need.gpu_share / WHOLE_GPU)
        free = [gpu for gpu, used in self._gpus.items() if used == 0]
        return tuple(free[:count]) if len(free) >= count else None
