"""A launcher's decisions, as values: how much it asks for, what its courier does next, what it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import JobMode
from balsam.launcher import appetite, partitions
from balsam.launcher.last_word import Idleness
from balsam.launcher.lease_steps import LONGEST_PAUSE_SEC, Situation, Step, gather_sec, next_step, pause_after
from balsam.launcher.main import stop_at
from balsam.launcher.orders import Orders, UsageError, parse_orders
from balsam.launcher.reports import Ending, clean, ended
from balsam.platform.nodes import Node

PATH = {"PATH": "/usr/bin:/bin"}
CALM = Situation(
    has_session=True,
    left_in_sec=None,
    acknowledged=True,
    in_doubt=False,
    reports_in_sec=None,
    lacks_apps=False,
    acquiring=False,
    wants_jobs=False,
    may_acquire=True,
    has_note=False,
    just_acquired=False,
    poll_in_sec=None,
    beat_in_sec=5.0,
    finish_in_sec=None,
)


class TestAppetite:
    IDLE = appetite.View(running=0, waiting=0, room=2, rate=0.0, trip_sec=0.01, max_ahead_per_slot=64)

    def test_idle_launcher_asks_for_what_it_can_start(self) -> None:
        assert appetite.wanted(self.IDLE).jobs == 2

    def test_long_runs_are_not_held_ahead(self) -> None:
        busy = replace(self.IDLE, running=2, room=0, rate=0.1)
        assert appetite.wanted(busy).jobs == 0

    def test_short_runs_are_held_ahead_up_to_the_setting(self) -> None:
        busy = replace(self.IDLE, running=2, room=0, rate=50.0)
        assert appetite.wanted(busy).jobs == 50
        assert appetite.wanted(replace(busy, rate=1e6)) == appetite.Wanted(128, 64)

    def test_launcher_of_several_nodes_takes_no_more_work_than_they_hold(self) -> None:
        several = replace(self.IDLE, room=400, nodes=8, free_nodes=8.0)
        assert appetite.wanted(several) == appetite.Wanted(400, 8)

    def test_smaller_jobs_are_asked_for_beside_one_that_waits_for_its_nodes(self) -> None:
        stuck = replace(self.IDLE, waiting=1, blocked=1, room=2, running=6, nodes=8, free_nodes=2.0)
        assert appetite.wanted(stuck) == appetite.Wanted(2, 2.0)
        assert appetite.wanted(replace(stuck, waiting=3)) == appetite.NOTHING

    def test_answer_that_used_up_the_nodes_does_not_say_that_there_is_no_more(self) -> None:
        whole, half = (
            {"num_nodes": 1, "node_packing_count": 1},
            {"num_nodes": 1, "node_packing_count": 2},
        )
        assert not appetite.is_dry([whole], 2, 1.0)
        assert appetite.is_dry([half], 2, 1.0)
        assert not appetite.is_dry([half, half], 2, 8.0)
        assert appetite.is_dry([], 2, 8.0)

    @given(
        st.builds(
            appetite.View,
            running=st.integers(0, 1000),
            waiting=st.integers(0, 5000),
            room=st.integers(0, 1000),
            rate=st.floats(0, 1e5),
            trip_sec=st.floats(0, 100),
            max_ahead_per_slot=st.integers(1, 64),
        )
    )
    def test_free_room_is_asked_for_and_no_more_than_a_request_may_carry(self, view: appetite.View) -> None:
        count = appetite.wanted(view).jobs
        assert 0 <= count <= 2048
        if view.room > view.waiting:
            assert count >= min(view.room - view.waiting, 2048)

    def test_pace_counts_the_last_seconds(self) -> None:
        pace = appetite.Pace()
        for n in range(11):
            pace.add(100 + n / 10)
        assert pace.rate(101.0) == pytest.approx(11.0)
        assert pace.rate(110.0) == 0.0


class TestSteps:
    def test_calm_launcher_waits_for_its_next_beat(self) -> None:
        assert next_step(CALM) == (Step.wait, 5.0)

    def test_nothing_is_sent_before_what_was_lost_is_dead(self) -> None:
        lost = replace(
            CALM, acknowledged=False, reports_in_sec=0.0, in_doubt=True, wants_jobs=True, beat_in_sec=-1
        )
        assert next_step(lost) == (Step.wait, None)
        assert next_step(replace(lost, has_session=False)) == (Step.wait, None)

    def test_doubt_comes_before_reports(self) -> None:
        doubtful = replace(CALM, in_doubt=True, reports_in_sec=0.0, beat_in_sec=-1, wants_jobs=True)
        assert next_step(doubtful)[0] is Step.resync

    def test_order_of_what_is_due(self) -> None:
        everything = replace(CALM, reports_in_sec=0.0, beat_in_sec=-1, lacks_apps=True, wants_jobs=True)
        assert next_step(everything)[0] is Step.beat
        everything = replace(everything, beat_in_sec=1)
        assert next_step(everything)[0] is Step.fetch_apps
        everything = replace(everything, lacks_apps=False)
        assert next_step(everything)[0] is Step.acquire
        assert next_step(replace(everything, wants_jobs=False))[0] is Step.report

    def test_acquisitions_and_reports_take_turns(self) -> None:
        both = replace(CALM, reports_in_sec=0.0, wants_jobs=True, just_acquired=True)
        assert next_step(both)[0] is Step.report
        assert next_step(replace(both, just_acquired=False))[0] is Step.acquire
        assert next_step(replace(both, reports_in_sec=0.01))[0] is Step.acquire

    def test_finishing_reports_then_closes_then_ends(self) -> None:
        finishing = replace(CALM, finish_in_sec=5, reports_in_sec=0.0, wants_jobs=True)
        assert next_step(finishing)[0] is Step.report
        assert next_step(replace(finishing, reports_in_sec=None))[0] is Step.close
        assert next_step(replace(finishing, has_session=False))[0] is Step.end
        assert next_step(replace(finishing, finish_in_sec=-0.1))[0] is Step.end

    def test_reports_in_quick_succession_are_gathered(self) -> None:
        assert next_step(replace(CALM, reports_in_sec=0.01)) == (Step.wait, 0.01)
        assert next_step(replace(CALM, reports_in_sec=0.01, wants_jobs=True))[0] is Step.acquire
        assert next_step(replace(CALM, reports_in_sec=0.01, finish_in_sec=9.0))[0] is Step.report

    def test_what_an_earlier_session_left_is_delivered_before_another_is_opened(self) -> None:
        begun = replace(CALM, has_session=False, left_in_sec=0.4)
        assert next_step(begun) == (Step.wait, 0.4)
        assert next_step(replace(begun, left_in_sec=0.0))[0] is Step.deliver
        assert next_step(replace(begun, left_in_sec=0.0, finish_in_sec=3.0))[0] is Step.deliver
        assert next_step(replace(begun, left_in_sec=0.0, acknowledged=False))[0] is Step.wait
        assert next_step(replace(begun, left_in_sec=None))[0] is Step.open

    def test_nothing_is_acquired_that_could_not_be_reported(self) -> None:
        full = replace(CALM, wants_jobs=True, may_acquire=False)
        assert next_step(full) == (Step.wait, 5.0)
        assert next_step(replace(full, acquiring=True, reports_in_sec=0.0))[0] is Step.report

    def test_notes_wait_for_everything_else_but_the_end(self) -> None:
        noted = replace(CALM, has_note=True, reports_in_sec=0.0, wants_jobs=True)
        assert next_step(noted)[0] is Step.acquire
        assert next_step(replace(noted, wants_jobs=False))[0] is Step.report
        assert next_step(replace(noted, wants_jobs=False, reports_in_sec=None))[0] is Step.note
        assert next_step(replace(noted, reports_in_sec=None, finish_in_sec=1.0))[0] is Step.note

    def test_single_report_is_followed_at_once_and_a_large_one_after_a_while(self) -> None:
        assert gather_sec(1) == 0.0
        assert 0.0 < gather_sec(10) < gather_sec(20) < gather_sec(10_000) <= 0.25

    @given(st.integers(1, 10**6))
    def test_pauses_stay_short(self, failures: int) -> None:
        assert 0 < pause_after(failures) <= LONGEST_PAUSE_SEC


class TestOrders:
    def test_published_command_line(self) -> None:
        orders = parse_orders(["-j", "serial", "-t", "10", "--tag", "a=1", "-tag", "b=x=y"])
        assert orders.mode is JobMode.serial
        assert orders.wall_time_min == 10
        assert orders.tags == {"a": "1", "b": "x=y"}
        assert orders.batch_job_id is None

    def test_single_partition_rules(self) -> None:
        orders = parse_orders(["-j", "serial", "-t", "10", "--batch-job", "7", "-p", "JobMode.mpi:1:a=1:b=2"])
        assert (orders.mode, orders.tags, orders.batch_job_id) == (JobMode.mpi, {"a": "1", "b": "2"}, 7)

    def test_several_partitions_have_their_own_nodes_mode_and_tags(self) -> None:
        orders = parse_orders(["-j", "mpi", "-t", "1", "-b", "7", "-p", "mpi:1:a=b c", "-p", "serial:2"])
        nodes = [Node(f"n{number}", (0,), (), 1) for number in range(4)]
        shares = partitions.split(nodes, orders.parts)
        assert [[node.name for node in share] for share in shares] == [["n0"], ["n1", "n2"]]
        words = partitions.command_of(0, orders.parts[0], shares[0], orders)
        again = parse_orders(words[3:])
        assert again == Orders(JobMode.mpi, 1.0, 7, {"a": "b c"}, 0, ["n0"], [])
        assert parse_orders(partitions.command_of(1, orders.parts[1], shares[1], orders)[3:]).partition == 1

    def test_partitions_that_ask_for_more_than_there_is_are_refused(self) -> None:
        parts = parse_orders(["-j", "mpi", "-t", "1", "-p", "mpi:1", "-p", "serial:2"]).parts
        with pytest.raises(UsageError, match="ask for 3 nodes, and this allocation has 1"):
            partitions.split([Node("n", (0,), (), 1)], parts)

    @pytest.mark.parametrize("text", ["mpi", "mpi:0", "mpi:x:a=b"])
    def test_part_without_a_number_of_nodes_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="number of nodes"):
            parse_orders(["-j", "mpi", "-t", "1", "-p", text])

    @pytest.mark.parametrize(("text", "word"), [("fast:1", "'fast'"), ("mpi:1:kind", "write KEY=VALUE")])
    def test_part_with_a_wrong_mode_or_tag_is_refused_in_a_sentence(self, text: str, word: str) -> None:
        with pytest.raises(UsageError, match=f"--part {text}: .*{word}"):
            parse_orders(["-j", "mpi", "-t", "1", "-p", text])

    def test_short_allocation_keeps_most_of_its_time(self) -> None:
        assert stop_at(100.0, 1) == pytest.approx(154.0)
        assert stop_at(100.0, 60) == pytest.approx(100 + 3600 - 15)

    def test_an_allocation_that_began_before_the_launcher_ends_before_its_own_wall_time(self) -> None:
        """Kind: a start of our own is taken for that of whoever sets the end."""
        assert stop_at(100.0, 60, left_sec=3000.0) == pytest.approx(100 + 3000 - 15)
        assert stop_at(100.0, 60, left_sec=9000.0) == stop_at(100.0, 60)
        assert stop_at(100.0, 60, left_sec=-5.0) == pytest.approx(85.0)


class TestReports:
    def test_error_is_the_end_of_the_output_and_what_is_known_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "job.out").write_bytes(b"one\ntwo\x00\xff\nthree\n")
        update = ended(5, Ending(-9, 1, "ended by signal SIGKILL"), str(tmp_path), 2)
        assert update.data == {"returncode": -9, "error": "two\ufffd\ufffd\nthree\nended by signal SIGKILL"}
        assert update.fields == {"return_code": -9}

    def test_missing_output_is_no_error(self, tmp_path: Path) -> None:
        assert ended(5, Ending(3, 1), str(tmp_path), 10).data == {"returncode": 3, "error": ""}

    def test_long_text_keeps_its_end(self) -> None:
        assert clean("a" * 10_000 + "end").endswith("aend")
        assert len(clean("a" * 10_000)) == 8_000


def test_idleness_is_counted_while_the_server_says_that_there_is_nothing() -> None:
    idle = Idleness(60.0)
    idle.nothing(0.0)
    idle.nothing(10.0)
    assert not idle.is_over and idle.ask_at == 60.0
    assert not idle.is_to_ask(59.0) and idle.is_to_ask(60.0) and not idle.is_to_ask(60.5)
    idle.nothing(60.6)
    assert idle.is_over


def test_an_outage_is_no_idleness() -> None:
    idle = Idleness(60.0)
    idle.nothing(0.0)
    idle.reset()  # no answer
    assert idle.is_to_ask(75.0) and not idle.is_over
    idle.nothing(76.0)
    assert not idle.is_over and idle.ask_at == 136.0
