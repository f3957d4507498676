"""Launchers of several nodes: workers that come and go, launch lines, partitions."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from balsam.sdk.application import ApplicationDefinition
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.launcher.virtual_nodes import VirtualNodes
from tests.services import User
from tests.shifted_clock import shifted_clock
from tests.waiting import wait_until

NAMES = ["nid0001", "nid0002", "nid0003"]


@pytest.fixture
def several(tmp_path: Path, new_user: Callable[[], User]) -> Iterator[tuple[Pilot, dict[str, str]]]:
    """A site whose allocations have three nodes, and their environment."""
    pilot = Pilot(tmp_path / "site", new_user().client)
    yield pilot, with_several_nodes(pilot, tmp_path)
    pilot.end()


def with_several_nodes(pilot: Pilot, folder: Path) -> dict[str, str]:
    """The environment of an allocation of three nodes of this site."""
    pilot.set("launcher", compute_node="pbs")
    queue = {"max_nodes": 3, "max_walltime": 60, "max_queued_jobs": 1}
    pilot.client.put(f"/sites/{pilot.site.site_id}", {"allowed_queues": {"local": queue}})
    return VirtualNodes(folder / "nodes", NAMES).environment


def nodes_of(pilot: Pilot, job_id: int) -> list[str]:
    (started,) = [event for event in pilot.events(job_id) if event["to_state"] == "RUNNING"]
    return list(started["data"]["nodes"])


def workers_of(pilot: Pilot) -> list[int]:
    """Their process ids."""
    path = str(pilot.site.job_path / "leader-")
    lines = {pid: _command_line(pid) for pid in processes_with("balsam.launcher.worker")}
    return [pid for pid, line in lines.items() if path in line and "hydra" not in line]


def _command_line(pid: int) -> str:
    """Empty where the process has ended in the meantime."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("ahead_sec", [-600, 600])
def test_clocks_of_nodes_are_told_apart(
    several: tuple[Pilot, dict[str, str]], tmp_path: Path, ahead_sec: int
) -> None:
    """Workers on nodes whose clocks are far from their leader's: their runs are where they belong in time."""
    pilot, environment = several
    ids = pilot.submit(pilot.command("sleep 0.5"), 3)
    began = datetime.now(UTC)
    pilot.launch(environment=environment | shifted_clock(tmp_path, ahead_sec, only_with="PMI_RANK"))
    assert {row["state"] for row in pilot.wait_done(ids, 40)} == {"JOB_FINISHED"}
    for job in ids:
        events = pilot.events(job)
        at = {e["to_state"]: datetime.fromisoformat(e["timestamp"]).replace(tzinfo=UTC) for e in events}
        assert began < at["RUNNING"] < at["RUN_DONE"] < datetime.now(UTC)
        assert timedelta(seconds=0.5) <= at["RUN_DONE"] - at["RUNNING"] < timedelta(seconds=3)


def test_jobs_run_on_all_nodes_and_their_events_name_them(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    app = pilot.command("sleep 0.4; echo $PMI_RANK$BALSAM_JOB_ID")
    ids = pilot.submit(app, 12, node_packing_count=2)
    pilot.launch(environment=environment)
    assert {row["state"] for row in pilot.wait_done(ids, 40)} == {"JOB_FINISHED"}
    counts = Counter(nodes_of(pilot, job_id)[0] for job_id in ids)
    assert counts.keys() == set(NAMES)
    assert [pilot.output(job_id) for job_id in ids] == [f"{job_id}\n" for job_id in ids]


def test_run_app_of_another_node_returns_its_value_or_its_exception(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    class Divide(ApplicationDefinition):
        def run(self, by: int) -> float:
            print("dividing by", by)
            return 1 / by

    pilot, environment = several
    app = pilot.app_id(Divide)
    good, bad = pilot.submit(app, parameters_json={"by": 4}) + pilot.submit(app, parameters_json={"by": 0})
    pilot.launch(environment=environment)
    rows = pilot.wait_done([good, bad], 40)
    assert [row["state"] for row in rows] == ["JOB_FINISHED", "FAILED"]
    assert pilot.output(good) == "dividing by 4\n"
    assert rows[0]["serialized_return_value"] and rows[1]["serialized_exception"]
    assert "ZeroDivisionError" in pilot.output(bad)


def test_all_that_is_known_of_a_run_s_end_comes_from_other_nodes(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    """Kind: what a worker tells its leader of an end: return code, who killed it, where output begins."""

    class Ending(ApplicationDefinition):
        def run(self, how: str) -> int:
            if how == "killed" and self.job.num_runs == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "gone":
                os._exit(0)
            if how == "exit":
                raise SystemExit(3)
            return 1

    pilot, environment = several
    linked = pilot.site.data_path / "linked" / "0"
    linked.mkdir(parents=True)
    (linked / "all.txt").write_text("MemoryError: that was an earlier run\n")
    (linked / "job.out").symlink_to("all.txt")
    app = pilot.app_id(Ending)
    [bad] = pilot.submit(app, workdir="linked", parameters_json={"how": "exit"})
    ids = [pilot.submit(app, parameters_json={"how": how})[0] for how in ("killed", "gone")]
    pilot.launch(environment=environment)
    exited, killed, gone = pilot.wait_done([bad, *ids], 40)
    assert [row["state"] for row in (exited, killed, gone)] == ["FAILED", "JOB_FINISHED", "JOB_FINISHED"]
    assert [row["return_code"] for row in (exited, killed, gone)] == [3, 0, 0]
    assert not gone["serialized_return_value"]
    assert "RUN_TIMEOUT" in pilot.walk(ids[0]), "somebody else killed it, and it ran again"
    [told] = [event["data"] for event in pilot.events(bad) if event["to_state"] == "RUN_ERROR"]
    assert "earlier run" not in str(told)


def test_lost_worker_costs_its_own_runs_only(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    command = long_sleep()
    ids = pilot.submit(pilot.command(command), 3, max_restarts=0)
    pilot.launch(environment=environment)
    pilot.wait_state(ids, "RUNNING", 40)
    where = {nodes_of(pilot, job_id)[0]: job_id for job_id in ids}
    lost = where["nid0002"]
    victim = next(pid for pid in workers_of(pilot) if _environment(pid)["VIRTUAL_NODE"] == "nid0002")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "RUN_TIMEOUT" in pilot.walk(lost), 20, lambda: pilot.told(ids))
    (event,) = [event for event in pilot.events(lost) if event["to_state"] == "RUN_TIMEOUT"]
    assert "node nid0002 was lost: the connection to its worker ended" in event["data"]["message"]
    wait_until(lambda: len(processes_with(command)) == 2, 10)
    others = [job_id for job_id in ids if job_id != lost]
    assert set(pilot.states(others)) == {"RUNNING"}
    # A new worker comes up there; a job that finds the other nodes taken shows it.
    [later] = pilot.submit(pilot.command("echo on $VIRTUAL_NODE"))
    pilot.wait_done([later], 40)
    assert nodes_of(pilot, later) == ["nid0002"] and pilot.output(later) == "on nid0002\n"
    assert len(workers_of(pilot)) == 3


def test_node_whose_worker_dies_again_and_again_is_given_up(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    launcher = pilot.launch("--nodes", "nid0003", environment=environment)
    dead: set[int] = set()
    deadline = time.monotonic() + 120
    while launcher.poll() is None:
        assert time.monotonic() < deadline, pilot.told([])
        wait_until(lambda: launcher.poll() is not None or set(workers_of(pilot)) - dead, 60)
        for pid in set(workers_of(pilot)) - dead:
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
    assert len(dead) == 4
    [log] = pilot.site.log_path.glob("serial_mode_*.log")
    assert log.read_text().count("a worker is started there again") == 3
    assert "no node is left to run on" in log.read_text()


def test_node_without_free_files_rests_and_its_jobs_run_elsewhere(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    pilot, environment = several
    app = pilot.command("true")
    pilot.launch(environment=environment)
    wait_until(lambda: len(workers_of(pilot)) == 3, 30)
    pilot.wait_done(pilot.submit(app, 3), 40)
    poor = next(pid for pid in workers_of(pilot) if _environment(pid)["VIRTUAL_NODE"] == "nid0001")
    process = psutil.Process(poor)
    taken = {int(path.name) for path in Path(f"/proc/{poor}/fd").iterdir()}
    first_free = next(number for number in itertools.count() if number not in taken)
    process.rlimit(psutil.RLIMIT_NOFILE, (first_free, process.rlimit(psutil.RLIMIT_NOFILE)[1]))
    ids = pilot.submit(app, 12)
    assert {row["state"] for row in pilot.wait_done(ids, 60)} == {"JOB_FINISHED"}
    assert not {nodes_of(pilot, job_id)[0] for job_id in ids} & {"nid0001"}
    assert "nothing is started on nid0001 for a while" in pilot.told(ids[:1])


def test_workers_end_with_their_leader(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    command = long_sleep()
    ids = pilot.submit(pilot.command(command), 3)
    launcher = pilot.launch(environment=environment)
    pilot.wait_state(ids, "RUNNING", 40)
    launcher.kill()
    wait_until(lambda: not processes_with(command) and not workers_of(pilot), 20, lambda: _left(pilot))
    (left,) = pilot.site.job_path.glob("leader-*")  # only a leader that ends in good order removes its file
    os.utime(left, (0, 0))  # nobody comes to read it any more
    pilot.launch(environment=environment)
    wait_until(lambda: not left.exists() and list(pilot.site.job_path.glob("leader-*.json")), 20)


def test_good_end_leaves_neither_workers_nor_their_file(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    pilot.set("launcher", idle_ttl_sec=1)
    ids = pilot.submit(pilot.command("true"), 3)
    launcher = pilot.launch(environment=environment)
    pilot.wait_done(ids, 40)
    assert launcher.wait(60) == 0
    assert not workers_of(pilot)
    assert not list(pilot.site.job_path.glob("leader-*"))


def test_secret_of_the_workers_is_readable_by_their_owner_alone(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    pilot, environment = several
    pilot.launch(environment=environment)
    wait_until(lambda: bool(list(pilot.site.job_path.glob("leader-*"))), 20)
    (path,) = pilot.site.job_path.glob("leader-*")
    assert path.stat().st_mode & 0o777 == 0o600


def test_mpi_mode_starts_all_ranks_on_whole_nodes(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    app = pilot.command("echo $PMI_RANK $VIRTUAL_NODE $OMP_NUM_THREADS >&2")
    shown = pilot.command("env")
    large = pilot.submit(shown, num_nodes=2, ranks_per_node=2, threads_per_rank=3)[0]
    small = pilot.submit(app)[0]
    pilot.launch(mode="mpi", environment=environment)
    assert {row["state"] for row in pilot.wait_done([large, small], 40)} == {"JOB_FINISHED"}
    lines = pilot.output(large).splitlines()
    assert sorted(line for line in lines if line.startswith("PMI_RANK=")) == [
        f"PMI_RANK={rank}" for rank in range(4)
    ]
    assert len(nodes_of(pilot, large)) == 2
    assert lines.count("OMP_NUM_THREADS=3") == 4


def test_run_app_of_several_ranks_answers_what_rank_0_returns(several: tuple[Pilot, dict[str, str]]) -> None:
    class Rank(ApplicationDefinition):
        def run(self, fails: int = -1) -> int:
            rank = int(os.environ["PMI_RANK"])
            if rank == fails:
                raise ValueError(f"rank {rank} does not like it")
            return int(os.environ["BASE"]) + rank

        def shell_preamble(self) -> str:
            return "export BASE=40\necho prepared"

    pilot, environment = several
    app = pilot.app_id(Rank)
    wide: dict[str, Any] = {"num_nodes": 2, "ranks_per_node": 1}
    good = pilot.submit(app, **wide)[0]
    bad = pilot.submit(app, parameters_json={"fails": 1}, **wide)[0]
    pilot.launch(mode="mpi", environment=environment)
    rows = pilot.wait_done([good, bad], 40)
    assert [row["state"] for row in rows] == ["JOB_FINISHED", "FAILED"]
    from balsam.schemas import deserialize

    assert deserialize(rows[0]["serialized_return_value"]) == 40
    assert pilot.output(good) == "prepared\n", "the preamble runs once, before the ranks"
    assert "rank 1 does not like it" in pilot.events(bad)[-2]["data"]["error"]
    folder = pilot.site.data_path / rows[0]["workdir"]
    assert [path.name for path in folder.iterdir()] == ["job.out"]


def test_partitions_run_side_by_side_with_their_own_mode_and_tags(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    pilot, environment = several
    pilot.set("launcher", idle_ttl_sec=2)
    app = pilot.command("sleep 0.2")
    serial = pilot.submit(app, 4, tags={"kind": "small"})
    wide = pilot.submit(app, 2, num_nodes=2, tags={"kind": "wide"})
    options = ["--part", "mpi:2:kind=wide", "--part", "serial:1:kind=small"]
    launcher = pilot.launch(*options, environment=environment)
    assert {row["state"] for row in pilot.wait_done(serial + wide, 40)} == {"JOB_FINISHED"}
    assert {tuple(nodes_of(pilot, job_id)) for job_id in wide} == {("nid0001", "nid0002")}
    assert {tuple(nodes_of(pilot, job_id)) for job_id in serial} == {("nid0003",)}
    assert launcher.wait(60) == 0


def test_single_node_of_a_serial_part_is_used_wherever_it_is(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    pilot.set("launcher", idle_ttl_sec=2)
    app = pilot.command("echo on $VIRTUAL_NODE")
    ids = pilot.submit(app, 2)
    pilot.launch("--nodes", "nid0003", environment=environment)
    assert {row["state"] for row in pilot.wait_done(ids, 40)} == {"JOB_FINISHED"}
    assert {pilot.output(job_id) for job_id in ids} == {"on nid0003\n"}


def test_frozen_leader_goes_on_with_other_workers(brief: Pilot, tmp_path: Path) -> None:
    pilot, environment = brief, with_several_nodes(brief, tmp_path)
    command = long_sleep()
    ids = pilot.submit(pilot.command(command), 3)
    launcher = pilot.launch(environment=environment)
    pilot.wait_state(ids, "RUNNING", 40)
    before = workers_of(pilot)
    os.kill(launcher.pid, signal.SIGSTOP)
    wait_until(lambda: not processes_with(command), 40, lambda: _left(pilot))
    os.kill(launcher.pid, signal.SIGCONT)
    wait_until(lambda: all(pilot.walk(i).count("RUNNING") == 2 for i in ids), 60, lambda: pilot.told(ids))
    assert launcher.poll() is None
    assert not set(before) & set(workers_of(pilot))


def test_nodes_without_a_program_that_reaches_them_are_refused_with_the_remedy(
    several: tuple[Pilot, dict[str, str]],
) -> None:
    pilot, environment = several
    pilot.set("launcher", mpi_app_launcher="local")
    assert pilot.launch(environment=environment).wait(60) == 2
    pilot.set("launcher", mpi_app_launcher="mpich")
    assert pilot.launch(environment={**environment, "PATH": "/nonexistent"}).wait(60) == 2
    told = (pilot.site.log_path / "launcher.out").read_text()
    assert "this site starts programs without MPI" in told
    assert "there is no program 'mpiexec.hydra' on the PATH" in told


def test_node_that_is_no_part_of_the_allocation_is_refused(several: tuple[Pilot, dict[str, str]]) -> None:
    pilot, environment = several
    assert pilot.launch("--nodes", "nid0009", environment=environment).wait(60) == 2
    assert (
        "this allocation has no node nid0009; it has nid0001, nid0002, nid0003"
        in (pilot.site.log_path / "launcher.out").read_text()
    )


def _environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _left(pilot: Pilot) -> str:
    return "\n".join(path.read_text() for path in pilot.site.log_path.glob("*.workers"))
