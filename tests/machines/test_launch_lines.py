"""Launch lines, carried out by real MPI launchers on several virtual nodes.

PALS runs on HPE's machines alone; its lines are tested as values.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from balsam.platform.mpi.gpus import gpu_environment
from balsam.platform.mpi.launch import Host, Launch
from balsam.platform.mpi.openmpi import OpenMpi
from balsam.platform.nodes import detect
from examples.slurm.cluster import SlurmCluster
from tests.machines.clusters import ROOT_MAY_RUN, Bench
from tests.waiting import wait_until

CPUS = tuple(sorted(os.sched_getaffinity(0)))
# Terminates the command that follows $0 and $1 once the folder $0 holds $1 files.
TERMINATED = """\
folder=$0; count=$1; shift
"$@" & pid=$!
while [ "$(ls "$folder" | wc -l)" -lt "$count" ]; do sleep 0.05; done
kill -TERM $pid
wait $pid
"""
RANKS = str(Path(__file__).with_name("ranks.py"))
# Waits for the others that write to the folder $1, so that it ends only if all run at the same time.
MEETING = 'touch "$1/$$"; while [ "$(ls "$1" | wc -l)" -lt "$2" ]; do sleep 0.05; done'
WORKER = """\
node=${SLURMD_NODENAME:-$(hostname)}
echo "$MARK" > "$1/started-$node"
while [ "$(ls "$1" | wc -l)" -lt 3 ]; do sleep 0.05; done
[ "$node" = "$2" ] && kill -9 $$
sleep 1.5
touch "$1/ended-$node"
"""


def ranks_of(folder: Path, bench: Bench, launch: Launch) -> dict[int, dict[str, Any]]:
    """Runs ranks.py; what each rank saw."""
    done = bench.run(bench.launcher.command(launch), environment=launch.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return {int(file.name): json.loads(file.read_text()) for file in folder.iterdir()}


def launch_of(folder: Path, bench: Bench, hosts: list[Host], each: int, **environment: str) -> Launch:
    words = [sys.executable, RANKS, str(folder)]
    environment = {"TOKEN": "open sesame", **environment}
    return Launch(words, hosts, ranks_per_node=each, environment=environment, params=bench.params)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "seen"
    path.mkdir()
    return path


def test_ranks_run_on_their_hosts_and_cpus_and_agree_on_their_sum(bench: Bench, folder: Path) -> None:
    hosts = [Host(name, CPUS[:2]) for name in bench.hosts[:2]]
    ranks = ranks_of(folder, bench, launch_of(folder, bench, hosts, 2))
    assert {(seen["size"], seen["sum"]) for seen in ranks.values()} == {(4, 6)}
    assert [ranks[rank]["host"] for rank in range(4)] == [host.name for host in hosts for _ in range(2)]
    assert [ranks[rank]["cpus"] for rank in range(4)] == [[CPUS[0]], [CPUS[1]]] * 2


def test_variables_reach_all_ranks_and_stand_on_no_command_line(bench: Bench, folder: Path) -> None:
    hosts = [Host(name) for name in bench.hosts]
    ranks = ranks_of(folder, bench, launch_of(folder, bench, hosts, 1))
    assert [ranks[rank]["token"] for rank in range(3)] == ["open sesame"] * 3
    assert [ranks[rank]["shown"] for rank in range(3)] == [0] * 3


def test_a_run_sees_the_gpus_that_it_was_given_and_no_others(bench: Bench, folder: Path) -> None:
    hosts = [Host(name, gpus=("1", "3")) for name in bench.hosts[:2]]
    launch = launch_of(folder, bench, hosts, 1, **gpu_environment("nvidia", ("1", "3")))
    assert [seen["gpus"] for seen in ranks_of(folder, bench, launch).values()] == ["1,3", "1,3"]


def test_more_ranks_than_cpus_share_them(bench: Bench, folder: Path) -> None:
    hosts = [Host(name, CPUS[:2]) for name in bench.hosts[:1]]
    ranks = ranks_of(folder, bench, launch_of(folder, bench, hosts, 3))
    assert {tuple(seen["cpus"]) for seen in ranks.values()} == {CPUS}


def test_runs_packed_on_one_node_do_not_wait_for_each_other(bench: Bench, folder: Path) -> None:
    words = ["sh", "-c", MEETING, "meeting", str(folder), "12"]
    launch = Launch(words, [Host(bench.hosts[0])], ranks_per_node=4)
    done = bench.run(*[bench.launcher.command(launch)] * 3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.iterdir())) == 12


def test_open_mpi_packs_runs_within_slurm_too(slurm: SlurmCluster, folder: Path) -> None:
    environment = slurm.environment | ROOT_MAY_RUN
    within = ["salloc", "-Q", "-N2", "--exclusive"]
    bench = Bench(OpenMpi("mpirun.openmpi"), slurm.nodes[:2], environment, within=within)
    words = ["sh", "-c", MEETING, "meeting", str(folder), "8"]
    launch = Launch(words, [Host(name) for name in bench.hosts], ranks_per_node=2)
    done = bench.run(*[bench.launcher.command(launch)] * 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.iterdir())) == 8


def test_a_run_whose_rank_fails_fails(bench: Bench) -> None:
    launch = Launch(["sh", "-c", "exit 3"], [Host(name) for name in bench.hosts[:2]])
    assert bench.run(bench.launcher.command(launch)).returncode != 0


def test_a_line_that_is_terminated_leaves_no_rank_behind(bench: Bench, folder: Path) -> None:
    words = ["sh", "-c", 'touch "$0/$$"; exec sleep 1000', str(folder)]
    launch = Launch(words, [Host(name) for name in bench.hosts[:2]], ranks_per_node=2)
    bench.run(["sh", "-c", TERMINATED, str(folder), "4", *bench.launcher.command(launch)])
    ranks = [int(file.name) for file in folder.iterdir()]
    assert len(ranks) == 4
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks))


def test_launch_params_reach_the_launcher(bench: Bench) -> None:
    labels = {"openmpi": "tag_output", "mpich": "prepend_rank", "srun": "label"}
    params = {labels[bench.launcher.name]: ""}
    launch = Launch(["echo", "hello"], [Host(name) for name in bench.hosts[:2]], params=params)
    done = bench.run(bench.launcher.command(launch))
    lines = sorted(line for line in done.stdout.splitlines() if "hello" in line)
    assert len(lines) == 2 and lines[0] != lines[1], done.stdout + done.stderr


def test_one_worker_starts_on_each_node_and_its_death_ends_no_other(bench: Bench, folder: Path) -> None:
    dies = bench.hosts[1]
    words = ["sh", "-c", WORKER, "worker", str(folder), dies]
    done = bench.run(
        bench.launcher.worker_command(bench.hosts, words, ["MARK"]), environment={"MARK": "here"}
    )
    started = {f"started-{name}" for name in bench.hosts}
    ended = {f"ended-{name}" for name in bench.hosts if name != dies}
    assert {file.name for file in folder.iterdir()} == started | ended, done.stdout + done.stderr
    assert [(folder / name).read_text() for name in started] == ["here\n"] * 3


def test_a_real_slurm_allocation_tells_its_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/sh\nenv -0 > {tmp_path}/environment\n")
    options = ("--wait", "-N3", "-c4", "--mem=1000", "--gpus-per-node=2", "-o", "/dev/null")
    slurm.run("sbatch", *options, str(script))
    entries = (tmp_path / "environment").read_text().rstrip("\0").split("\0")
    environ = dict(entry.split("=", 1) for entry in entries)
    nodes = detect("slurm", environ)
    assert [node.name for node in nodes] == slurm.nodes[:3]
    assert {(len(n.cpus), n.gpus, n.mem_mb) for n in nodes} == {(4, ("0", "1"), 1000)}
