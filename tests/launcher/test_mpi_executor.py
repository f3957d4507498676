"""From a job to the command that starts its ranks, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balsam.launcher.command import Command, argument_list
from balsam.launcher.mpi_executor import NEVER_RAN, _answered, launch_of, needed_line, under_mpi
from balsam.launcher.placement import Seat
from balsam.launcher.reports import Ending
from balsam.platform.nodes import Node
from balsam.runtime import python_rank
from balsam.runtime.python_rank import Files

NODES = {name: Node(name, (0, 1, 2, 3), (), 1, {0: (4,), 1: (5,), 2: (6,), 3: (7,)}) for name in ("a", "b")}


def job(**fields: Any) -> dict[str, Any]:
    plain = {"ranks_per_node": 2, "threads_per_rank": 1, "threads_per_core": 1, "gpus_per_rank": 0}
    return {"id": 1, **plain, "launch_params": {}, **fields}


def test_ranks_get_the_cores_of_their_run_and_as_many_threads_of_each_as_asked_for() -> None:
    seats = (Seat("a", (0, 1), ("0",)), Seat("b", (0, 1), ("1",)))
    launch = launch_of(job(threads_per_core=2), seats, {"X": "1"}, NODES)
    assert [host.cpus for host in launch.hosts] == [(0, 4, 1, 5)] * 2
    assert [host.gpus for host in launch.hosts] == [("0",), ("1",)]
    assert launch.ranks == 4


def test_single_rank_may_use_its_whole_node() -> None:
    launch = launch_of(job(ranks_per_node=1), (Seat("a", (0, 1)),), {}, NODES)
    assert launch.hosts[0].cpus == ()


def test_single_rank_needs_no_launcher_where_there_is_none() -> None:
    alone = launch_of(job(ranks_per_node=1), (Seat("a"),), {}, NODES)
    assert needed_line(["mpiexec", "-n", "1"], alone, "/nonexistent") == []
    several = launch_of(job(), (Seat("a"),), {}, NODES)
    assert needed_line(["mpiexec", "-n", "2"], several, "/nonexistent") == ["mpiexec", "-n", "2"]
    asks = launch_of(job(ranks_per_node=1, launch_params={"v": ""}), (Seat("a"),), {}, NODES)
    assert needed_line(["mpiexec", "-v"], asks, "/nonexistent") == ["mpiexec", "-v"]


def test_redirection_and_preamble_stand_around_the_launcher() -> None:
    line = ["mpiexec", "-n", "2"]
    assert under_mpi(line, Command("/bin/echo 'a b'")).text == "mpiexec -n 2 /bin/echo 'a b'"
    into = under_mpi(line, Command("hello > out.txt", ["module load mpi"]))
    text = argument_list(into, {"PATH": "/usr/bin:/bin"})[-1]
    assert text.endswith("eval $'mpiexec -n 2 hello > out.txt'")
    assert "source <(printf %s $'module load mpi')" in text and text.count("mpiexec") == 1


class TestAnswers:
    def test_first_failure_counts_whatever_rank_0_says(self, tmp_path: Path) -> None:
        files = Files.of(str(tmp_path), 7)
        files.ask(b"{}")
        files.answer(0, b'{"ok": true, "serialized_return_value": "x"}')
        files.answer(3, b'{"ok": false, "error": "e3", "serialized_exception": "y"}')
        files.answer(2, b'{"ok": false, "error": "e2", "serialized_exception": "z"}')
        answer = files.take_answer()
        assert answer is not None and answer["error"] == "e2"
        assert list(tmp_path.iterdir()) == []

    def test_answers_of_an_earlier_attempt_do_not_count(self, tmp_path: Path) -> None:
        files = Files.of(str(tmp_path), 7)
        files.ask(b"{}")
        files.answer(0, b'{"ok": true, "serialized_return_value": "old"}')
        files.ask(b"{}")
        assert files.take_answer() is None

    @pytest.mark.parametrize("code", [0, 9])
    def test_ranks_that_end_their_processes_count_by_their_exit_code(self, tmp_path: Path, code: int) -> None:
        """Kind: `os._exit()` in a run(), which means the same in both modes: 0 is no error, and no value."""
        files = Files.of(str(tmp_path), 7)
        files.ask(b"{}")
        files.begin()
        assert _answered(files, Ending(code, 1)) == Ending(code, 1)
        assert list(tmp_path.iterdir()) == []

    def test_a_launcher_that_ends_well_without_starting_a_rank_has_run_nothing(self, tmp_path: Path) -> None:
        """Kind: work that was not done and looks done; a beginning of an earlier attempt does not count."""
        files = Files.of(str(tmp_path), 7)
        files.ask(b"{}")
        files.begin()
        files.ask(b"{}")
        assert _answered(files, Ending(0, 1)) == Ending(1, 1, NEVER_RAN)

    def test_request_is_readable_by_its_owner_alone(self, tmp_path: Path) -> None:
        files = Files.of(str(tmp_path), 7)
        files.ask(b"{}")
        assert files.request.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        ("environ", "rank"),
        [({"PMI_RANK": "3"}, 3), ({"OMPI_COMM_WORLD_RANK": "2"}, 2), ({"SLURM_PROCID": "1"}, 1), ({}, 0)],
    )
    def test_rank_is_what_the_launcher_says(self, environ: dict[str, str], rank: int) -> None:
        assert python_rank.rank_of(environ) == rank
