"""An MPI program for tests: each rank writes to the folder argv[1] what it sees, and who shows $TOKEN.

Run by the launchers under test, with mpi4py.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from mpi4py import MPI


def command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue  # it has ended
    return lines


def main() -> None:
    world = MPI.COMM_WORLD
    token = os.environ["TOKEN"].encode()
    seen = {
        "size": world.size,
        "sum": world.allreduce(world.rank),
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "token": os.environ["TOKEN"],
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "shown": sum(token in line for line in command_lines()),
    }
    world.barrier()  # until all have looked, every launcher process is alive
    Path(sys.argv[1], str(world.rank)).write_text(json.dumps(seen))


main()
