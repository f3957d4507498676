"""Hydra, the mpiexec of MPICH and of its relatives (MVAPICH, Intel MPI)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from balsam.platform.mpi.launch import SLURM_STEPS_OVERLAP, Launch, Option, launch_line, words_option

_option = words_option("-")


class Mpich:
    """`mpiexec.hydra`, which is never another MPI's mpiexec. It passes its whole environment to all ranks."""

    name = "mpich"
    environment: Mapping[str, str] = SLURM_STEPS_OVERLAP

    def __init__(self, program: str = "mpiexec.hydra") -> None:
        self._program = program

    def command(self, launch: Launch) -> list[str]:
        params = [_option(name, value) for name, value in launch.params.items()]
        return launch_line(self._program, _options(launch), params, launch.words)

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        own: list[Option] = [
            ("-n", str(len(hosts))),
            ("-hosts", ",".join(hosts)),
            ("-ppn", "1"),
            ("-bind-to", "none"),
            # One worker that dies takes no other with it.
            ("-disable-auto-cleanup",),
            ("-genvall",),
        ]
        return launch_line(self._program, own, (), words)


def _options(launch: Launch) -> Iterator[Option]:
    yield ("-n", str(launch.ranks))
    yield ("-hosts", ",".join(host.name for host in launch.hosts))
    yield ("-ppn", str(launch.ranks_per_node))
    # Hydra probes the whole machine before it binds, several times as long as it takes to start ranks: a run
    # that has its nodes to itself is left to the kernel, as by MPICH's own default.
    shared = not all(host.whole for host in launch.hosts)
    sets = ",".join("+".join(map(str, cpus)) for cpus in launch.cpu_sets) if shared else ""
    yield ("-bind-to", f"user:{sets}" if sets else "none")
    yield ("-genvall",)
