"""Clusters of virtual nodes on this host: a real Slurm, and nodes that real MPI launchers reach as by ssh."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from balsam.platform.mpi.launch import MpiLauncher
from tests.services import free_port
from tests.waiting import wait_until

# The nodes' own names are set by `unshare --uts`, so that each rank sees its node's.
AGENT = """\
#!/bin/sh
# In place of ssh: [option...] host command...
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec unshare --uts sh -c 'hostname "$1"; shift; exec sh -c "$*"' - "$host" "$@"
"""

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=5
SlurmdTimeout=10
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=debug Nodes=ALL MaxTime=INFINITE Default=YES State=UP
"""

NODE_LINE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 "
    "SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=256000 Gres=gpu:4 State=UNKNOWN"
)

# Open MPI refuses root, whom virtual nodes need. A matter of tests alone.
ROOT_MAY_RUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"


class SlurmCluster:
    """A real Slurm with virtual nodes nid0001 and so on, each with `cpus` and 4 GPUs; needs root.

    `environment` is what Slurm's commands need. Within a step `SLURMD_NODENAME` tells the node; its host name
    is this host's on all.
    """

    def __init__(self, nodes: int = 4, cpus: int = 8) -> None:
        self.nodes = [f"nid{number:04}" for number in range(1, nodes + 1)]
        self._cpus = cpus

    def __enter__(self) -> Self:
        _need("slurmctld", "slurmd", "srun")
        self.folder = Path(tempfile.mkdtemp(prefix="balsam-slurm-"))
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}
        try:
            self._configure()
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel_jobs()
        pids = [int(file.read_text()) for file in (self.folder / "run").glob("*.pid")]
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _cancel_jobs(self) -> None:
        """Jobs that a test left behind would outlive the daemons."""
        if (self.folder / "run" / "slurmctld.pid").exists() and self.run("squeue", "-h"):
            self.run("scancel", "--user", "root")
            wait_until(lambda: not self.run("squeue", "-h", "-t", "R,CG,PD"), timeout=60)

    def run(self, *words: str, timeout: float = 60) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{self._logs()}"
        return done.stdout

    def _configure(self) -> None:
        for part in ("etc", "state", "run", "log", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / part).mkdir(parents=True)
        nodes = [NODE_LINE.format(name=node, port=free_port(), cpus=self._cpus) for node in self.nodes]
        files = {
            "slurm.conf": SLURM_CONF.format(
                folder=self.folder, controller=free_port(), nodes="\n".join(nodes)
            ),
            # Any four devices will do: Slurm only counts and names them.
            "gres.conf": "".join(f"NodeName={n} Name=gpu Count=4 File=/dev/tty[0-3]\n" for n in self.nodes),
            "cgroup.conf": CGROUP_CONF,
        }
        for name, text in files.items():
            (self.folder / "etc" / name).write_text(text)

    def _start(self) -> None:
        self.run("slurmctld", "-c")
        for node in self.nodes:
            self.run("slurmd", "-N", node)
        wait_until(self._idle, timeout=60, on_timeout=self._logs)

    def _idle(self) -> bool:
        states = self.run("sinfo", "-h", "-N", "-o", "%T").split()
        return states == ["idle"] * len(self.nodes)

    def _logs(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-2000:]}" for file in self.folder.glob("log/*"))


class VirtualNodes:
    """Nodes of given names on this host, which Open MPI and MPICH reach by a script in place of ssh.

    Needs root, whom they then allow to run programs.

    `environment` is what their launchers need.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("nid0001", "nid0002", "nid0003")) -> None:
        _need("unshare", "mpirun.openmpi", "mpiexec.mpich")
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


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise RuntimeError(f"there is no {', '.join(missing)}: run `make machines` as root")
    if os.geteuid() != 0:
        raise RuntimeError("clusters of virtual nodes need root")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


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
