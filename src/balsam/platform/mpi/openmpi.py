"""Open MPI's mpirun, releases 4 and 5."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from balsam.platform.mpi.launch import Launch, Option, launch_line, words_option

_option = words_option("--")


class OpenMpi:
    """`mpirun`. Runs that share a node do not know of each other: their CPUs bind them, or nothing does."""

    name = "openmpi"

    def __init__(self, program: str = "mpirun") -> None:
        self._program = program

    def command(self, launch: Launch) -> list[str]:
        params = [_option(name, value) for name, value in launch.params.items()]
        return launch_line(self._program, _options(launch), params, launch.words)

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        own: list[Option] = [
            ("-n", str(len(hosts))),
            ("--host", ",".join(f"{host}:1" for host in hosts)),
            ("--map-by", "ppr:1:node"),
            ("--bind-to", "none"),
            # One worker that dies takes no other with it.
            ("--mca", "orte_abort_on_non_zero_status", "0"),
            ("--enable-recovery",),
            *_exported(environment),
        ]
        return launch_line(self._program, own, (), words)


def _options(launch: Launch) -> Iterator[Option]:
    each = launch.ranks_per_node
    yield ("-n", str(launch.ranks))
    yield ("--host", ",".join(f"{host.name}:{each}" for host in launch.hosts))
    yield from _binding(launch)
    yield from _exported(launch.environment)


def _binding(launch: Launch) -> Iterator[Option]:
    each = f"ppr:{launch.ranks_per_node}:node"
    sets = launch.cpu_sets
    if not sets:
        yield ("--map-by", f"{each}:OVERSUBSCRIBE")
        yield ("--bind-to", "none")
        return
    yield ("--map-by", f"{each}:PE={len(sets[0])}")
    yield ("--cpu-set", ",".join(str(cpu) for cpus in sets for cpu in cpus))
    yield ("--bind-to", "hwthread")


def _exported(names: Collection[str]) -> Iterator[Option]:
    for name in sorted(names):
        yield ("-x", name)
