"""The nodes of an allocation and what they hold."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balsam.platform.host_list import (
    HostListError,
    expand_hosts,
    expand_number_ranges,
    expand_repeats,
    unique_lines,
)
from balsam.platform.schedulers import flux
from balsam.platform.schedulers.commands import Call, CommandLine

ASK_SEC = 30.0  # for a command that names nodes
HOSTS = Call(("flux", "getattr", "hostlist"))
_CPU_FOLDER = Path("/sys/devices/system/cpu")
# By which each batch system numbers its jobs, for the processes in them.
_JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "FLUX_ENCLOSING_ID", "PE_HOSTFILE")
_SLURM = "a Slurm allocation"


class UnknownNodes(ValueError):
    """There is no such kind of nodes, or they can't be told from the environment; the sentence says why."""


@dataclass(frozen=True)
class Node:
    """A compute node: names of its CPUs and GPUs as the operating system numbers them, memory in MiB.

    A CPU here is a physical core, named by its first hardware thread: what a job's `threads_per_core` counts
    in. `siblings` has the other hardware threads of cores that have several.
    """

    name: str
    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    mem_mb: int
    siblings: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    gpu_maker: str = "nvidia"

    @property
    def kind(self) -> dict[str, int]:
        """What users and servers need to know of it."""
        return {"cpus": len(self.cpus), "gpus": len(self.gpus), "mem_mb": self.mem_mb}

    def hardware_threads(self, cpus: tuple[int, ...], per_core: int) -> tuple[int, ...]:
        """The threads of these cores, up to `per_core` of each, those of one core side by side."""
        return tuple(t for cpu in cpus for t in (cpu, *self.siblings.get(cpu, ()))[: max(1, per_core)])


@dataclass(frozen=True)
class NodeFacts:
    """What a machine's nodes hold where its batch system does not say; memory in MiB.

    None: as the node has it on which the question is asked. Hardware thread `t` of core `c` has the number
    `c + t * cores`, as is usual on Linux. `reserved_cores` belong to the system. `gpus` are named as the
    variable of `gpu_maker` names them.
    """

    cores: int | None = None
    threads_per_core: int | None = None
    reserved_cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_maker: str = "nvidia"
    mem_mb: int | None = None


@dataclass(frozen=True)
class _Given:
    """A node as its batch system tells of it; `threads`: how many hardware threads of it are ours."""

    name: str
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    mem_mb: int | None = None


def detect(kind: str, environ: Mapping[str, str], facts: NodeFacts | None = None) -> list[Node]:
    """The nodes that this process was given, in the batch system's order; `facts` tell what that does not.

    Raises UnknownNodes for a kind that is not in `node_kinds()`, and where the environment is not one of an
    allocation of that kind.
    """
    if kind == "local":
        return detect_local(environ)
    if kind not in _BATCH_SYSTEMS:
        raise UnknownNodes(f"there are no nodes of kind {kind!r} here; there are: {', '.join(node_kinds())}")
    try:
        given = _BATCH_SYSTEMS[kind](environ)
    except HostListError as exc:
        raise UnknownNodes(str(exc)) from exc
    (here,) = detect_local({})
    return [_node(node, facts or NodeFacts(), here) for node in given]


def is_in_allocation(environ: Mapping[str, str]) -> bool:
    """Whether this process is in a batch system's job, whatever its nodes are taken for."""
    return any(environ.get(name) for name in _JOB_IDS)


def node_kinds() -> list[str]:
    return sorted(["local", *_BATCH_SYSTEMS])


def detect_local(environ: Mapping[str, str]) -> list[Node]:
    """This host: the cores that this process may use, the GPUs of CUDA_VISIBLE_DEVICES (unset: none)."""
    threads = sorted(os.sched_getaffinity(0))
    siblings = group_threads(threads, _siblings_of)
    return [
        Node(
            name=socket.gethostname(),
            cpus=tuple(siblings),
            gpus=parse_visible_gpus(environ.get("CUDA_VISIBLE_DEVICES", "")),
            mem_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
            siblings={cpu: others for cpu, others in siblings.items() if others},
        )
    ]


def group_threads(threads: list[int], siblings_of: Callable[[int], set[int]]) -> dict[int, tuple[int, ...]]:
    """Cores by their first usable thread, each with the others of the usable threads that it has."""
    cores: dict[int, tuple[int, ...]] = {}
    seen: set[int] = set()
    for thread in threads:
        if thread not in seen:
            together = (siblings_of(thread) | {thread}) & set(threads)
            seen |= together
            cores[thread] = tuple(sorted(together - {thread}))
    return cores


def parse_visible_gpus(text: str) -> tuple[str, ...]:
    """The GPUs of a CUDA_VISIBLE_DEVICES text, up to the first invalid one, as CUDA reads it."""
    gpus: list[str] = []
    for name in map(str.strip, text.split(",")):
        if name in ("", "-1", "none", "NoDevFiles"):
            break
        gpus.append(name)
    return tuple(gpus)


def _siblings_of(thread: int) -> set[int]:
    path = _CPU_FOLDER / f"cpu{thread}" / "topology" / "thread_siblings_list"
    try:
        return set(expand_number_ranges(path.read_text()))
    except (OSError, HostListError):
        return {thread}  # a kernel that does not tell: each thread counts as a core


def _slurm(environ: Mapping[str, str]) -> list[_Given]:
    names = expand_hosts(_variable(environ, "SLURM_JOB_NODELIST", _SLURM))
    threads = expand_repeats(_variable(environ, "SLURM_JOB_CPUS_PER_NODE", _SLURM))
    if len(threads) != len(names):
        raise UnknownNodes(
            f"SLURM_JOB_CPUS_PER_NODE counts {len(threads)} nodes, and SLURM_JOB_NODELIST names {len(names)}"
        )
    gpus = _slurm_gpus(environ)
    per_node = _number(environ, "SLURM_MEM_PER_NODE")
    per_thread = _number(environ, "SLURM_MEM_PER_CPU")
    return [
        _Given(name, count, gpus, per_node or per_thread * count or None)
        for name, count in zip(names, threads, strict=True)
    ]


def _slurm_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the first node, as every node of the allocation is taken to have them."""
    named = environ.get("SLURM_JOB_GPUS", "")
    numbers = expand_number_ranges(named) if named else range(_number(environ, "SLURM_GPUS_ON_NODE"))
    return tuple(map(str, numbers))


def _pbs(environ: Mapping[str, str]) -> list[_Given]:
    return _node_file(_variable(environ, "PBS_NODEFILE", "a PBS allocation"), "PBS_NODEFILE")


def _cobalt(environ: Mapping[str, str]) -> list[_Given]:
    """COBALT_NODEFILE names the nodes; where it is missing, COBALT_PARTNAME `0-3,8` has their numbers."""
    file = environ.get("COBALT_NODEFILE")
    if file:
        return _node_file(file, "COBALT_NODEFILE")
    numbers = expand_number_ranges(_variable(environ, "COBALT_PARTNAME", "a Cobalt allocation"))
    return [_Given(f"nid{number:05}") for number in numbers]


def _lsf(environ: Mapping[str, str]) -> list[_Given]:
    """LSB_MCPU_HOSTS is `host slots host slots ...`; a first one of a single slot only starts the others."""
    words = _variable(environ, "LSB_MCPU_HOSTS", "an LSF allocation").split()
    names, slots = words[0::2], words[1::2]
    starter = slots[:1] == ["1"] and any(count != "1" for count in slots)
    return [_Given(name) for name in names[starter:]]


def _sge(environ: Mapping[str, str]) -> list[_Given]:
    """PE_HOSTFILE has `host slots queue processors` for each queue on each host."""
    given = _node_file(_variable(environ, "PE_HOSTFILE", "a Grid Engine allocation"), "PE_HOSTFILE")
    return [_Given(name) for name in dict.fromkeys(node.name.split()[0] for node in given)]


def _flux(environ: Mapping[str, str]) -> list[_Given]:
    """`flux getattr hostlist` names the nodes; several brokers on one host let it come again."""
    if not environ.get("FLUX_URI"):
        raise UnknownNodes("FLUX_URI is not set: this process was not started in a Flux allocation")
    done = CommandLine(flux.SURROUNDINGS, environ, ASK_SEC, gap_sec=0.0).run(HOSTS)
    if done.returncode != 0:
        raise UnknownNodes(f"`flux getattr hostlist` did not name the nodes: {done.sentence}")
    return [_Given(name) for name in dict.fromkeys(expand_hosts(done.stdout))]


_BATCH_SYSTEMS: dict[str, Callable[[Mapping[str, str]], list[_Given]]] = {
    "slurm": _slurm,
    "pbs": _pbs,
    "cobalt": _cobalt,
    "lsf": _lsf,
    "sge": _sge,
    "flux": _flux,
}


def _variable(environ: Mapping[str, str], name: str, where: str) -> str:
    value = environ.get(name, "")
    if not value.strip():
        raise UnknownNodes(f"{name} is not set: this process was not started in {where}")
    return value


def _number(environ: Mapping[str, str], name: str) -> int:
    """0 where it is unset, or no number."""
    value = environ.get(name, "")
    return int(value) if value.isdigit() else 0


def _node_file(file: str, variable: str) -> list[_Given]:
    """The nodes of a file that names each as often as it has slots."""
    try:
        names = unique_lines(Path(file).read_text(encoding="utf-8"))
    except OSError as exc:
        raise UnknownNodes(f"{variable} names {file}, which can't be read: {exc.strerror}") from exc
    if not names:
        raise UnknownNodes(f"{variable} names {file}, which names no node")
    return [_Given(name) for name in names]


def _node(given: _Given, facts: NodeFacts, here: Node) -> Node:
    cores = {c: others for c, others in _cores(given, facts, here).items() if c not in facts.reserved_cores}
    return Node(
        name=given.name,
        cpus=tuple(cores),
        gpus=given.gpus or facts.gpus,
        mem_mb=given.mem_mb or facts.mem_mb or here.mem_mb,
        siblings={core: others for core, others in cores.items() if others},
        gpu_maker=facts.gpu_maker,
    )


def _cores(given: _Given, facts: NodeFacts, here: Node) -> dict[int, tuple[int, ...]]:
    """The cores of a node, each with its other hardware threads."""
    threads_here = len(here.hardware_threads(here.cpus, 1024))
    per_core = facts.threads_per_core or threads_here // len(here.cpus)
    if given.threads == threads_here or (given.threads is None and facts.cores is None):
        # Also where only a part of this node is ours: then its cores do not count from 0.
        return {cpu: here.siblings.get(cpu, ()) for cpu in here.cpus}
    count = facts.cores or len(here.cpus)
    if given.threads is not None:
        count = max(1, given.threads // per_core)
    return {core: tuple(core + t * count for t in range(1, per_core)) for core in range(count)}
