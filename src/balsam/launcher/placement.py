"""Which runs fit on a node, and what each gets of it. Values only: no processes, no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam.core.resources import node_weight
from balsam.platform.nodes import Node

WHOLE_GPU = 1000  # GPUs are shared by thousandths
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What a run takes of one node.

    `packing`: so many such runs share a node. `cores`: physical ones. `gpu_share`: thousandths of a GPU.
    """

    packing: int = 1
    cores: int = 1
    gpu_share: int = 0
    mem_mb: int = 0

    @classmethod
    def of_job(cls, job: Mapping[str, Any]) -> Need:
        """From a job's JSON record."""
        ranks = job["ranks_per_node"]
        return cls(
            packing=max(1, job["node_packing_count"]),
            cores=max(1, math.ceil(ranks * job["threads_per_rank"] / max(1, job["threads_per_core"]))),
            gpu_share=math.ceil(ranks * job["gpus_per_rank"] * WHOLE_GPU - _SLACK),
            mem_mb=ranks * job["mem_mb_per_rank"],
        )

    @property
    def weight(self) -> float:
        """The share of a node that the run keeps busy."""
        return node_weight(1, self.packing)


@dataclass(frozen=True, slots=True)
class Share:
    """What a run was given: the node's name and the names of its GPUs."""

    node: str
    gpus: tuple[str, ...] = ()


class NodeRoom:
    """What is left of one node.

    A run fits while the occupancies (1 / packing) of all stay within one node, and the GPUs and the memory
    that it asks for are free. Cores count only for a run that asks for more than its share of the node:
    how far the others overbook them is up to their packing.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self._packings: Counter[int] = Counter()
        self._cores = 0
        self._mem_mb = 0
        self._gpus = dict.fromkeys(node.gpus, 0)

    @property
    def occupancy(self) -> float:
        return sum(count / packing for packing, count in self._packings.items())

    def never_fits(self, need: Need) -> str | None:
        """Why a run does not fit on this node even when it is empty, or None."""
        if need.gpu_share > WHOLE_GPU * len(self.node.gpus):
            asked = need.gpu_share / WHOLE_GPU
            return f"it asks for {asked:g} GPUs per node, and node {self.node.name} has {len(self.node.gpus)}"
        if need.mem_mb > self.node.mem_mb:
            return f"it asks for {need.mem_mb} MB per node, and node {self.node.name} has {self.node.mem_mb}"
        return None

    def fits(self, need: Need) -> bool:
        return (
            self.occupancy + 1 / need.packing <= 1 + _SLACK
            and self._cores_allow(need)
            and self._mem_mb + need.mem_mb <= self.node.mem_mb
            and self._choose_gpus(need) is not None
        )

    def count_of(self, need: Need) -> int:
        """How many more of such runs fit, as far as occupancy and cores go."""
        by_occupancy = math.floor((1 - self.occupancy + _SLACK) * need.packing)
        if self._within_share(need):
            return by_occupancy
        asked = min(need.cores, len(self.node.cpus))
        return max(0, min(by_occupancy, (len(self.node.cpus) - self._cores) // asked))

    def take(self, need: Need) -> Share:
        """Books a run that fits."""
        gpus = self._choose_gpus(need)
        assert gpus is not None, "take() follows fits()"
        self._book(need, gpus, 1)
        return Share(self.node.name, gpus)

    def give_back(self, need: Need, share: Share) -> None:
        self._book(need, share.gpus, -1)

    def _book(self, need: Need, gpus: Sequence[str], sign: int) -> None:
        self._packings[need.packing] += sign
        if not self._packings[need.packing]:
            del self._packings[need.packing]
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


def next_to_start(needs: Sequence[Need], room: NodeRoom, *, may_overtake: bool) -> int | None:
    """The index of the first run that fits; only the first of all may be chosen unless others may overtake.

    Whoever decides that lets a run overtake a larger one for a while only, or the larger never starts.
    """
    for index, need in enumerate(needs if may_overtake else needs[:1]):
        if room.fits(need):
            return index
    return None
