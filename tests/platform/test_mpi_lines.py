"""What each MPI launcher is told to do, as argument lists."""

from __future__ import annotations

import pytest

from balsam.platform.mpi import find
from balsam.platform.mpi.launch import Host, Launch

TWO_NODES = (Host("nid1", (0, 1, 2, 3)), Host("nid2", (0, 1, 2, 3)))
SECRET = {"TOKEN": "sesame", "A": "1"}


def line(launcher: str, launch: Launch) -> str:
    return " ".join(find(launcher).command(launch))


def worker_line(launcher: str) -> str:
    return " ".join(find(launcher).worker_command(["nid1", "nid2"], ["worker", "--port", "1"], ["PATH"]))


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (
            "openmpi",
            "mpirun -n 4 --host nid1:2,nid2:2 --map-by ppr:2:node:PE=2 --cpu-set 0,1,2,3 --bind-to hwthread "
            "-x A -x TOKEN prog in",
        ),
        ("mpich", "mpiexec.hydra -n 4 -hosts nid1,nid2 -ppn 2 -bind-to user:0+1,2+3 -genvall prog in"),
        (
            "srun",
            "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 --nodelist=nid1,nid2 --overlap --overcommit "
            "--mem=0 --export=ALL --cpu-bind=mask_cpu:0x3,0xc --kill-on-bad-exit=1 prog in",
        ),
        ("pals", "mpiexec -n 4 --ppn 2 --hosts nid1,nid2 --envall --cpu-bind list:0,1:2,3 prog in"),
    ],
)
def test_ranks_are_spread_over_hosts_and_bound_to_cpus_of_their_own(launcher: str, expected: str) -> None:
    launch = Launch(["prog", "in"], TWO_NODES, ranks_per_node=2, threads_per_rank=2, environment=SECRET)
    assert line(launcher, launch) == expected
