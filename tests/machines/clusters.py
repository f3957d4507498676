"""Virtual nodes on this host that real MPI launchers reach as by ssh, and a launcher with nodes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from balsam.platform.mpi.launch import MpiLauncher
from examples.slurm.cluster import need_programs

# The nodes' own names are set by `unshare --uts`, so that each rank sees its node's.
AGENT = """\
#!/bin/sh
# In place of ssh: [option...] host command...
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec unshare --uts sh -c 'hostname "$1"; shift; exec sh -c "$*"' - "$host" "$@"
"""

# Open MPI refuses root, whom virtual nodes need. A matter of tests alone.
ROOT_MAY_RUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class VirtualNodes:
    """Nodes of given names on this host, which Open MPI and MPICH reach by a script in place of ssh.

    Needs root, whom they then allow to run programs.

    `environment` is what their launchers need.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("nid0001", "nid0002", "nid0003")) -> None:
        need_programs("openmpi-bin mpich", "unshare", "mpirun.openmpi", "mpiexec.mpich")
        self.names = list(names)
        agent = folder / "agent.sh"
        agent.write_text(AGENT)
        agent.chmod(0o755)
        self.environment = {
            **os.environ,
            **ROOT_MAY_RUN,
            "OMPI_MCA_plm_rsh_agent": str(agent),
            "HYDRA_LAUNCHER": "ssh",
            "HYDRA_LAUNCHER_EXEC": str(agent),
        }


class Bench:
    """One MPI launcher with nodes to run on; `within` begins the command that gives them."""

    def __init__(
        self,
        launcher: MpiLauncher,
        hosts: Sequence[str],
        environment: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.launcher = launcher
        self.hosts = list(hosts)
        self.params = params or {}  # what its MPI programs need here
        self._environment = environment
        self._within = within

    def run(
        self, *lines: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the lines at the same time, within one allocation, to their end; the exit code of the last."""
        first, last = lines[:-1], shlex.join(lines[-1])
        script = "".join(f"{shlex.join(line)} & " for line in first) + f"{last}; code=$?; wait; exit $code"
        process = subprocess.Popen(
            [*self._within, "sh", "-c", script],
            env={**self._environment, **self.launcher.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=120)
        except BaseException:
            # Whatever stays behind would keep its nodes from the next test.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def mpich_for_python(folder: Path) -> dict[str, str]:
    """What lets mpi4py find MPICH's library, to which Debian gives a name of its own."""
    name = "libmpich.so.12"
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    path = next(line.split(" => ")[1] for line in known.splitlines() if line.split()[:1] == [name])
    (folder / "libmpi.so.12").symlink_to(path)
    return {"MPI4PY_MPIABI": "mpich", "LD_LIBRARY_PATH": str(folder)}
