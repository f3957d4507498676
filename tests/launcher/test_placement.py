"""What fits on a node, for any sequence of runs that come and go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.placement import WHOLE_GPU, Need, NodeRoom, Seat
from balsam.platform.nodes import Node

nodes = st.builds(
    lambda cpus, gpus: Node("n", tuple(range(cpus)), tuple(str(g) for g in range(gpus)), 1000),
    st.integers(1, 16),
    st.integers(0, 4),
)
needs = st.builds(
    Need,
    packing=st.integers(1, 9),
    cores=st.integers(1, 20),
    gpu_share=st.one_of(st.just(0), st.integers(1, WHOLE_GPU), st.sampled_from([1000, 1500, 2000, 3000])),
    mem_mb=st.sampled_from([0, 1, 300, 900, 2000]),
)


@dataclass
class Books:
    """What runs now, kept apart from the code under test."""

    runs: list[tuple[Need, Seat]] = field(default_factory=list)

    def check(self, node: Node) -> None:
        assert sum(1 / need.packing for need, _ in self.runs) <= 1 + 1e-6
        assert sum(need.mem_mb for need, _ in self.runs) <= node.mem_mb
        used = dict.fromkeys(node.gpus, 0)
        cpus = [cpu for _, seat in self.runs for cpu in seat.cpus]
        assert len(set(cpus)) == len(cpus)
        for need, seat in self.runs:
            assert len(seat.gpus) * WHOLE_GPU >= need.gpu_share
            assert len(set(seat.gpus)) == len(seat.gpus)
            assert not seat.cpus or len(seat.cpus) >= need.cores
            for gpu in seat.gpus:
                used[gpu] += min(need.gpu_share, WHOLE_GPU)
        assert all(amount <= WHOLE_GPU for amount in used.values())


@given(nodes, st.lists(st.tuples(st.booleans(), needs, st.integers(0, 100)), max_size=60))
def test_nothing_is_ever_given_twice(node: Node, steps: list[tuple[bool, Need, int]]) -> None:
    room, books = NodeRoom(node), Books()
    for leaves, need, which in steps:
        if leaves and books.runs:
            room.give_back(*books.runs.pop(which % len(books.runs)), math.inf)
        elif room.fits(need):
            books.runs.append((need, room.take(need, math.inf)))
        books.check(node)
    while books.runs:
        room.give_back(*books.runs.pop(), math.inf)
    assert room.occupancy == 0
    assert all(room.fits(need) for _, need, _ in steps if room.never_fits(need) is None)


@given(nodes, st.integers(1, 40))
def test_as_many_fit_as_the_packing_says_whatever_the_cores(node: Node, packing: int) -> None:
    room, need = NodeRoom(node), Need(packing=packing)
    started = 0
    while room.fits(need):
        assert room.count_of(need) == packing - started
        room.take(need, math.inf)
        started += 1
    assert started == packing
    assert room.count_of(need) == 0


def test_run_that_asks_for_more_than_its_share_waits_for_free_cores() -> None:
    room = NodeRoom(Node("n", (0, 1, 2, 3), (), 1000))
    wide = Need(packing=4, cores=3)
    seat = room.take(wide, math.inf)
    assert not room.fits(wide)
    assert room.fits(Need(packing=4, cores=1))
    room.give_back(wide, seat, math.inf)
    assert room.fits(wide)


def test_run_that_asks_for_more_cores_than_there_are_runs_alone() -> None:
    room = NodeRoom(Node("n", (0, 1), (), 1000))
    assert room.fits(Need(packing=2, cores=64))
    room.take(Need(packing=2, cores=64), math.inf)
    assert not room.fits(Need(packing=2, cores=2))


def test_parts_of_a_gpu_fill_one_before_the_next() -> None:
    room = NodeRoom(Node("n", tuple(range(8)), ("a", "b"), 1000))
    half = Need(packing=8, gpu_share=500)
    assert [room.take(half, math.inf).gpus for _ in range(3)] == [("a",), ("a",), ("b",)]
    assert not room.fits(Need(packing=8, gpu_share=1000))


def test_what_never_fits_is_told_in_numbers() -> None:
    room = NodeRoom(Node("n1", (0,), ("0",), 500))
    assert room.never_fits(Need()) is None
    assert "2 GPUs per node, and node n1 has 1" in str(room.never_fits(Need(gpu_share=2000)))
    assert "900 MB per node, and node n1 has 500" in str(room.never_fits(Need(mem_mb=900)))


def test_need_is_read_from_a_job_record() -> None:
    job = {
        "num_nodes": 1,
        "node_packing_count": 3,
        "ranks_per_node": 4,
        "threads_per_rank": 3,
        "threads_per_core": 2,
        "gpus_per_rank": 0.3,
        "mem_mb_per_rank": 10,
    }
    assert Need.of_job(job) == Need(packing=3, cores=6, gpu_share=1200, mem_mb=40)
    assert Need.of_job(job, may_share_nodes=False).packing == 1
    several = Need.of_job({**job, "num_nodes": 5})
    assert (several.nodes, several.packing, several.weight) == (5, 1, 5.0)
