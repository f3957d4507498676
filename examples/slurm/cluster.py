"""A private Slurm on this host: real daemons, virtual nodes. Demonstration, tests and benchmarks share it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from balsam.server.daemon import free_port

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
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
SchedulerParameters={scheduling}
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
{more}"""

NODE_LINE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 "
    "SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=256000 Gres=gpu:4 State=UNKNOWN"
)

CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"

# A start of allocations that nobody has to wait for.
PROMPT = "batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1"

# Debian's packages, and what is used of them.
PROGRAMS = ("slurm-wlm munge", "slurmctld", "slurmd", "srun", "munged")
DAEMONS = ("slurmctld", "slurmscriptd", "slurmd", "slurmstepd", "slurmdbd", "munged")
START_SEC = STOP_SEC = 60.0
LONGEST_FOLDER = 64  # the sockets of Slurm's steps in it add 40, and Linux takes 107 bytes


class ClusterMissing(Exception):
    """There can be no private Slurm here; the sentence says why and what to do."""


class SlurmCluster:
    """A real Slurm with virtual nodes nid0001 and so on, each with `cpus` and 4 GPUs; needs root.

    `environment` is what Slurm's commands need. Within a step `SLURMD_NODENAME` tells the node; its host name
    is this host's on all. `folder`: where its files are until it stops, by default a new one; `scheduling`:
    its SchedulerParameters; `more`: lines of its configuration, after the others.
    """

    def __init__(
        self,
        nodes: int = 4,
        cpus: int = 8,
        *,
        folder: Path | None = None,
        scheduling: str = PROMPT,
        more: str = "",
    ) -> None:
        self.nodes = [f"nid{number:04}" for number in range(1, nodes + 1)]
        self.folder = folder or Path(tempfile.gettempdir()) / f"balsam-slurm-{secrets.token_hex(4)}"
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}
        self._cpus = cpus
        self._scheduling = scheduling
        self._more = more

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when all nodes are idle. What an interrupted start leaves behind, `stop` ends."""
        need_programs(*PROGRAMS)
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise ClusterMissing(f"{self.folder} is too long for sockets in it: set TMPDIR to a shorter one")
        self._configure()
        self._start()

    def stop(self) -> None:
        """Ends all jobs and daemons and removes the folder; also those of a process that was killed."""
        self._cancel_jobs()
        ended = self._daemons()
        for daemon in ended:
            with contextlib.suppress(psutil.NoSuchProcess):
                daemon.terminate()
        _, alive = psutil.wait_procs(ended, STOP_SEC)
        for daemon in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                daemon.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str, timeout: float = 60) -> str:
        """What a command of Slurm prints."""
        done = self._run(*words, timeout=timeout)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{self._logs()}"
        return done.stdout

    def _run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        # In a session of its own: Ctrl-C at the terminal is not for a daemon that just starts.
        return subprocess.run(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )

    def _cancel_jobs(self) -> None:
        """Jobs that somebody left behind would outlive the daemons."""
        if not (self.folder / "run" / "slurmctld.pid").exists() or not self._queued():
            return
        self._run("scancel", "--user", "root")
        deadline = time.monotonic() + STOP_SEC
        while self._queued() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _queued(self) -> str:
        """Nothing where no controller answers."""
        try:
            return self._run("squeue", "-h", "-t", "R,CG,PD", timeout=10).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def _daemons(self) -> list[psutil.Process]:
        """By their pid files; where one is not written yet, by what they were started with."""
        noted = [_process(file) for file in (self.folder / "run").glob("*.pid")]
        own = [process for process in psutil.process_iter() if self._is_own(process)]
        return list({*filter(None, noted), *own})

    def _is_own(self, process: psutil.Process) -> bool:
        try:
            conf = self.environment["SLURM_CONF"]
            return process.name() in DAEMONS and process.environ().get("SLURM_CONF") == conf
        except psutil.Error:
            return False

    def _configure(self) -> None:
        self.folder.mkdir(mode=0o755)  # munge goes through it, and so does the user of a database
        for part in ("etc", "state", "run", "log", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / part).mkdir(parents=True)
        nodes = [NODE_LINE.format(name=node, port=free_port(), cpus=self._cpus) for node in self.nodes]
        files = {
            "slurm.conf": SLURM_CONF.format(
                folder=self.folder,
                controller=free_port(),
                scheduling=self._scheduling,
                nodes="\n".join(nodes),
                more=self._more,
            ),
            # Any four devices will do: Slurm only counts and names them.
            "gres.conf": "".join(f"NodeName={n} Name=gpu Count=4 File=/dev/tty[0-3]\n" for n in self.nodes),
            "cgroup.conf": CGROUP_CONF,
        }
        for name, text in files.items():
            (self.folder / "etc" / name).write_text(text)

    def _start(self) -> None:
        self._start_munge()
        self._start_slurm()

    def _start_slurm(self) -> None:
        self.run("slurmctld", "-c")
        for node in self.nodes:
            self.run("slurmd", "-N", node)
        _await(self._idle, self._logs)

    def _start_munge(self) -> None:
        """Without it whoever has an account here could ask this Slurm to run programs as root."""
        key = self.folder / "etc" / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(1024))
        places = {
            "key-file": "etc/munge.key",
            "log-file": "log/munged.log",
            "pid-file": "run/munged.pid",
            "seed-file": "etc/munge.seed",
        }
        words = [f"--{option}={self.folder / place}" for option, place in places.items()]
        self.run("munged", "--num-threads=2", "--force", f"--socket={self._socket}", *words)

    @property
    def _socket(self) -> Path:
        return self.folder / "run" / "munge.socket"

    def _idle(self) -> bool:
        states = self.run("sinfo", "-h", "-N", "-p", "debug", "-o", "%T").split()
        return states == ["idle"] * len(self.nodes)

    def _logs(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-2000:]}" for file in self.folder.glob("log/*"))


def need_programs(packages: str, *programs: str) -> None:
    """Raises ClusterMissing where virtual nodes can't be had, with Debian's packages of the programs."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise ClusterMissing(
            f"there is no {', '.join(missing)} on the PATH; on Debian or Ubuntu, as root: apt-get install "
            f"{packages}, or `make machines` for whatever the tests of machines need"
        )
    if os.geteuid() != 0:
        raise ClusterMissing("virtual nodes need root, as which their daemons work: run it as root")


def _await(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SEC
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterMissing(f"Slurm did not start within {START_SEC:g} s: {told()}")
        time.sleep(0.1)


def _process(file: Path) -> psutil.Process | None:
    """The one that a pid file names, if it is a daemon still: numbers are given away again."""
    try:
        process = psutil.Process(int(file.read_text()))
        return process if process.name() in DAEMONS else None
    except (OSError, ValueError, psutil.Error):
        return None
