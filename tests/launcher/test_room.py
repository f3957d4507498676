"""Which of the waiting jobs starts where, on several nodes, as values: the clock is a number."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from balsam.launcher.apps import AppPlan
from balsam.launcher.backlog import OVERTAKE_SEC, Backlog, Waiting, order_key
from balsam.launcher.placement import Need, Share
from balsam.launcher.room import Room
from balsam.platform.nodes import Node
from balsam.runtime.requests import AppCode

PLAN = AppPlan(AppCode(1, "App", ""), "true", {}, {}, "python", False, False)


def nodes(count: int, cpus: int = 4, gpus: int = 0) -> list[Node]:
    return [
        Node(f"n{number}", tuple(range(cpus)), tuple(map(str, range(gpus))), 1000) for number in range(count)
    ]


def job(job_id: int, **fields: Any) -> dict[str, Any]:
    plain = {
        "num_nodes": 1,
        "ranks_per_node": 1,
        "threads_per_rank": 1,
        "threads_per_core": 1,
        "gpus_per_rank": 0,
        "mem_mb_per_rank": 0,
        "node_packing_count": 1,
        "wall_time_min": 0,
        "priority": 0,
    }
    return {**plain, "id": job_id, **fields}


def waiting(row: dict[str, Any], *, long_first: bool = False) -> Waiting:
    return Waiting(row, PLAN, None, Need.of_job(row), order_key(row, long_first=long_first))


def backlog_of(*rows: dict[str, Any]) -> Backlog:
    backlog = Backlog()
    for row in rows:
        backlog.add(waiting(row))
    return backlog


def starts(backlog: Backlog, room: Room, now: float = 0.0) -> list[tuple[Waiting, Share]]:
    found = []
    while (chosen := backlog.take_next(room, now)) is not None:
        found.append(chosen)
    return found


def ids(chosen: list[tuple[Waiting, Share]]) -> list[int]:
    return [one.job["id"] for one, _ in chosen]


class TestOrder:
    def test_priority_then_few_nodes_then_long_ones_then_age(self) -> None:
        rows = [job(1), job(2, num_nodes=3), job(3, priority=1), job(4, wall_time_min=9), job(5)]
        assert ids(starts(backlog_of(*rows), Room(nodes(9)))) == [3, 4, 1, 5, 2]

    def test_many_to_a_node_come_before_long_ones(self) -> None:
        rows = [job(1, wall_time_min=9), job(2, node_packing_count=4)]
        assert [row["id"] for row in sorted(rows, key=lambda r: order_key(r, long_first=False))] == [2, 1]

    def test_long_ones_first_where_the_site_says_so(self) -> None:
        rows = [job(1, num_nodes=4), job(2, wall_time_min=5), job(3, wall_time_min=9, num_nodes=2)]
        assert [row["id"] for row in sorted(rows, key=lambda r: order_key(r, long_first=True))] == [3, 2, 1]


class TestSeveralNodes:
    def test_run_of_several_nodes_takes_whole_ones(self) -> None:
        room = Room(nodes(4))
        small = room.take(Need(packing=4))
        large = room.take(Need(nodes=3, cores=4))
        assert small is not None and large is not None
        assert small.nodes == ["n0"]
        assert large.nodes == ["n1", "n2", "n3"]
        assert large.seats[0].cpus == (0, 1, 2, 3)
        assert room.take(Need(nodes=1, packing=1)) is None
        room.give_back(Need(nodes=3, cores=4), large)
        assert room.count_of(Need(nodes=2)) == 1

    def test_small_runs_fill_nodes_that_are_in_use_already(self) -> None:
        room = Room(nodes(3))
        shares = [room.take(Need(packing=2)) for _ in range(3)]
        assert [share.nodes for share in shares if share] == [["n0"], ["n0"], ["n1"]]
        assert room.idle_nodes == 1 and room.places == 6
        for _ in range(3):
            room.take(Need(packing=2))
        assert room.places == 0 and Room(nodes(1, cpus=1)).places == 1

    def test_a_part_of_a_core_is_a_place(self) -> None:
        room = Room(nodes(1, cpus=1))
        room.take(Need(packing=4))
        assert room.places == 1

    def test_what_no_node_has_is_told(self) -> None:
        room = Room([*nodes(1), *[Node("g", (0,), ("0",), 1000)]])
        assert room.never_fits(Need(gpu_share=1000)) is None
        assert "asks for 2 nodes, and this launcher has 1" in str(
            room.never_fits(Need(gpu_share=1000, nodes=2))
        )
        assert "asks for 3 nodes, and this launcher has 2" in str(room.never_fits(Need(nodes=3)))
        assert "2000 MB per node" in str(room.never_fits(Need(mem_mb=2000)))

    def test_lost_node_takes_nothing_more(self) -> None:
        room = Room(nodes(2))
        share = room.take(Need())
        assert share is not None
        room.lose("n0")
        room.give_back(Need(), share)
        assert len(room) == 1
        second = room.take(Need())
        assert second is not None and second.nodes == ["n1"]
        assert room.take(Need()) is None


class TestOvertaking:
    def test_small_ones_use_what_a_large_one_leaves_idle_and_it_starts_all_the_same(self) -> None:
        room, backlog = Room(nodes(2)), backlog_of(job(1))
        (first,) = starts(backlog, room)
        backlog.add(waiting(job(2, num_nodes=2, priority=1)))
        for job_id in range(10, 20):
            backlog.add(waiting(job(job_id)))
        (second,) = starts(backlog, room, now=1.0)
        assert second[0].job["id"] == 10
        late = 1.0 + OVERTAKE_SEC
        room.give_back(second[0].need, second[1])
        assert starts(backlog, room, now=late) == [], "its nodes are kept from now on"
        room.give_back(first[0].need, first[1])
        assert ids(starts(backlog, room, now=late + 5)) == [2]

    def test_nodes_that_are_kept_take_who_is_over_in_time(self) -> None:
        room = Room(nodes(2))
        backlog = backlog_of(job(1, wall_time_min=60))
        starts(backlog, room, now=0.0)
        backlog.add(waiting(job(2, num_nodes=2)))
        assert starts(backlog, room, now=1.0) == []
        for row in (job(3, wall_time_min=10), job(4), job(5, wall_time_min=90)):
            backlog.add(waiting(row))
        assert ids(starts(backlog, room, now=2.0 + OVERTAKE_SEC)) == [3]

    def test_others_go_on_beside_the_nodes_that_are_kept(self) -> None:
        room = Room(nodes(4))
        backlog = backlog_of(*[job(number) for number in range(4)])
        running = starts(backlog, room)
        backlog.add(waiting(job(10, num_nodes=2, priority=1)))
        starts(backlog, room, now=1.0)
        starts(backlog, room, now=2.0 + OVERTAKE_SEC)  # two nodes are kept
        for row in range(20, 24):
            backlog.add(waiting(job(row)))
        for chosen, share in running:
            room.give_back(chosen.need, share)
        assert ids(starts(backlog, room, now=3.0 + OVERTAKE_SEC)) == [10, 20, 21]

    def test_long_first_does_not_starve_the_large(self) -> None:
        room, backlog = Room(nodes(2)), Backlog()
        backlog.add(waiting(job(1, num_nodes=2, wall_time_min=1), long_first=True))
        for number in range(2, 50):
            backlog.add(waiting(job(number, wall_time_min=5), long_first=True))
        assert drained(backlog, room)[1] <= OVERTAKE_SEC + 2 * 300

    def test_nodes_are_kept_anew_where_one_of_them_is_lost(self) -> None:
        room = Room(nodes(2))
        backlog = backlog_of(job(1, node_packing_count=2), job(2, wall_time_min=60))
        starts(backlog, room)
        backlog.add(waiting(job(3)))
        starts(backlog, room, now=1.0)
        starts(backlog, room, now=2.0 + OVERTAKE_SEC)
        kept = backlog.kept
        assert kept is not None
        (name,) = kept.nodes
        room.lose(name)
        backlog.add(waiting(job(4, node_packing_count=2)))
        starts(backlog, room, now=3.0 + OVERTAKE_SEC)
        assert backlog.kept is not None and backlog.kept.nodes == {"n0", "n1"} - {name}

    def test_dropped_jobs_keep_no_nodes(self) -> None:
        room, backlog = Room(nodes(2)), backlog_of(job(1))
        starts(backlog, room)
        backlog.add(waiting(job(2, num_nodes=2)))
        starts(backlog, room, now=1.0)
        starts(backlog, room, now=2.0 + OVERTAKE_SEC)
        backlog.drop({2})
        backlog.add(waiting(job(3)))
        assert ids(starts(backlog, room, now=3.0 + OVERTAKE_SEC)) == [3]


def drained(backlog: Backlog, room: Room) -> dict[int, float]:
    """Runs everything, each job for as long as its wall time says (10 s without); when each started."""
    now, began, running = 0.0, dict[int, float](), list[tuple[float, Waiting, Share]]()
    while len(backlog) or running:
        for one, share in starts(backlog, room, now):
            began[one.job["id"]] = now
            running.append((now + (60 * one.job["wall_time_min"] or 10.0), one, share))
        assert running, "something runs whenever something waits"
        running.sort(key=lambda run: run[0])
        now, one, share = running.pop(0)
        room.give_back(one.need, share)
    return began


jobs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    num_nodes=st.integers(1, 4),
    node_packing_count=st.integers(1, 4),
    wall_time_min=st.integers(0, 3),
    priority=st.integers(-1, 1),
    threads_per_rank=st.integers(1, 6),
)


@given(st.lists(jobs, max_size=30), st.booleans())
@settings(max_examples=60)
def test_everything_starts_once_whatever_waits(fields: list[dict[str, Any]], long_first: bool) -> None:
    room, backlog = Room(nodes(4)), Backlog()
    rows = [job(number, **some) for number, some in enumerate(fields)]
    for row in rows:
        backlog.add(waiting(row, long_first=long_first))
    assert drained(backlog, room).keys() == {row["id"] for row in rows}
    assert room.free_nodes() == 4.0


def test_node_that_rests_gets_nothing_and_comes_back_to_its_place() -> None:
    room, need = Room(nodes(2)), Need(packing=2)
    first = room.take(need)
    assert first is not None and list(first.nodes) == ["n0"]
    room.rest(["n0"], 10.0)
    assert len(room) == 1 and room.has_resting
    elsewhere = room.take(need)
    assert elsewhere is not None and list(elsewhere.nodes) == ["n1"]
    room.give_back(need, first)  # what ran there goes on and ends
    room.wake(10.5)
    assert len(room) == 1
    room.wake(11.0)
    assert [node.name for node in room.nodes] == ["n0", "n1"]
    again = room.take(need)
    assert again is not None and list(again.nodes) == ["n0"]


def rested(room: Room, now: float) -> float:
    """How long its only node rests, in whole seconds."""
    room.rest(["n0"], now)
    room.rest(["n0"], now)  # of a node that rests already: no news
    seconds = 0
    while not len(room):
        seconds += 1
        room.wake(now + seconds)
    return seconds


def test_rests_grow_until_something_starts() -> None:
    room = Room(nodes(1))
    assert [rested(room, 100.0 * n) for n in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    room.works(["n0"])
    assert rested(room, 1000.0) == 1


def test_node_that_is_lost_while_it_rests_does_not_come_back() -> None:
    room = Room(nodes(1))
    room.rest(["n0"], 0.0)
    room.lose("n0")
    room.wake(100.0)
    assert len(room) == 0 and not room.has_resting
