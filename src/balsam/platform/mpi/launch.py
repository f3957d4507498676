"""What a run's launch line is made from, and the interface of those who make it.

A job's `launch_params` become options of its launcher, in whatever way that launcher writes them:

    {"cpu_bind": "depth"}    --cpu-bind depth   (srun: --cpu-bind=depth, hydra: -cpu-bind depth)
    {"v": ""}                -v                 an empty value makes a flag
    {"x": "A=1"}             -x A=1             a name of one letter has one dash
    {"--mca": "btl tcp"}     --mca btl tcp      a name that begins with a dash stays as it is

Values are split into words as a shell would, but for srun, which takes one value per option. The options
come last, and one that the line would have anyway is left out in their favour, so that they win.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

Option = tuple[str, ...]  # one option with its values: ("-n", "4")


class LaunchError(Exception):
    """A run that this launcher can't start; a sentence with the reason."""


@dataclass(frozen=True)
class Host:
    """A node and what the run was given there.

    `cpus`: hardware threads as the operating system numbers them, those of one core side by side; empty where
    the run may use any. `gpus`: as the node's system names them. `whole`: no other run has a core of it.
    """

    name: str
    cpus: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Launch:
    """One run of a program on all ranks.

    `environment`: the variables that it has beside the launcher's own. Whoever starts the line sets them;
    the line has their names only, since values may be secret. `gpus_per_rank` may be a part of one.
    """

    words: Sequence[str]
    hosts: Sequence[Host]
    ranks_per_node: int = 1
    threads_per_rank: int = 1
    threads_per_core: int = 1
    gpus_per_rank: float = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        return self.ranks_per_node * len(self.hosts)

    @property
    def cpu_sets(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each rank of a node.

        Empty where they can't be told apart: no CPUs are known, fewer than ranks, or others on each host.
        """
        cpus = self.hosts[0].cpus
        each = len(cpus) // self.ranks_per_node
        if each == 0 or any(host.cpus != cpus for host in self.hosts):
            return ()
        return tuple(cpus[rank * each : (rank + 1) * each] for rank in range(self.ranks_per_node))


# Within Slurm other launchers start their daemons by srun; those of one run would wait for those of another.
SLURM_STEPS_OVERLAP: Mapping[str, str] = {"SLURM_OVERLAP": "1"}


class MpiLauncher(Protocol):
    """Makes launch lines. Both methods raise LaunchError for what it can't do.

    SIGTERM to the program that a line starts ends all ranks. SIGKILL may leave some: srun's live on.
    `environment`: variables that whoever starts a line sets beside the run's own.
    """

    name: str
    environment: Mapping[str, str]

    def command(self, launch: Launch) -> list[str]:
        """The line that starts all ranks of a run."""
        ...

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        """The line that starts one process on each host, in the launcher's own environment.

        `environment`: names of variables that they need and that this launcher would not pass by itself. A
        process that ends does not end the others; the line ends when all have.
        """
        ...


def words_option(dash: str) -> Callable[[str, str], Option]:
    """How launchers write options whose values are words of their own; `dash` begins a long name."""

    def write(name: str, value: str) -> Option:
        try:
            return (_flag(name, dash), *shlex.split(value))
        except ValueError as exc:
            raise LaunchError(f"launch_params: {name} is {value!r}: a quote in it is not closed") from exc

    return write


def equals_option(name: str, value: str) -> Option:
    """`--name=value`, or `-n value`."""
    flag = _flag(name, "--")
    if not value:
        return (flag,)
    return (f"{flag}={value}",) if flag.startswith("--") else (flag, value)


def launch_line(
    program: str, own: Iterable[Option], params: Iterable[Option], words: Sequence[str]
) -> list[str]:
    """A launcher's command line; an option of `params` takes the place of an own one of the same name."""
    given = list(params)
    taken = {_name(option) for option in given} - _REPEATED
    kept = [option for option in own if _name(option) not in taken]
    return [program, *chain.from_iterable(kept), *chain.from_iterable(given), *words]


_REPEATED = frozenset({"-x", "--mca", "--prtemca"})  # each of these adds to those before it


def _flag(name: str, dash: str) -> str:
    if not name.strip("-"):
        raise LaunchError(f"launch_params: {name!r} is no name of an option")
    if name.startswith("-"):
        return name
    return f"-{name}" if len(name) == 1 else dash + name.replace("_", "-")


def _name(option: Option) -> str:
    return option[0].partition("=")[0]
