"""Nodes that are this host under other names, for tests without a batch system or an MPI.

`environment` is that of a PBS allocation of these nodes, with an `mpiexec.hydra` that starts processes here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

MPIEXEC = """\
#!{python}
import os, subprocess, sys
words, hosts, ranks = sys.argv[1:], [], 1
flags = {{"-disable-auto-cleanup", "-genvall"}}
while words and words[0].startswith("-"):
    option = words.pop(0)
    value = "" if option in flags else words.pop(0)
    if option == "-hosts":
        hosts = value.split(",")
    elif option == "-n":
        ranks = int(value)
def start(rank):
    environment = {{**os.environ, "PMI_RANK": str(rank), "VIRTUAL_NODE": hosts[rank * len(hosts) // ranks]}}
    return subprocess.Popen(words, env=environment)
children = [start(rank) for rank in range(ranks)]
sys.exit(max(abs(child.wait()) for child in children))
"""


class VirtualNodes:
    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        folder.mkdir()
        program = folder / "mpiexec.hydra"
        program.write_text(MPIEXEC.format(python=sys.executable))
        program.chmod(0o755)
        (folder / "nodes").write_text("".join(f"{name}\n" for name in names))
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PBS_NODEFILE": str(folder / "nodes"),
        }
