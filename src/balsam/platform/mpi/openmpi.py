"""Open MPI's mpirun, releases 4 and 5."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from balsam.platform.mpi.launch import SLURM_STEPS_OVERLAP, Launch, Option, launch_line, words_option

_option = words_option("--")

# Open MPI's own binding wants a file for each run, counts cores in an order of its own and differs between
# releases. Arguments: how many ranks a node has ($0), the CPUs of each, the program.
_BIND = 'eval "cpus=\\${$((OMPI_COMM_WORLD_LOCAL_RANK + 1))}"; shift "$0" && exec taskset -c "$cpus" "$@"'


class OpenMpi:
    """`mpirun`. It binds nothing: runs that share a node do not know of each other, and would share cores.

    Ranks whose CPUs are known bind themselves to them.
    """

    name = "openmpi"
    environment: Mapping[str, str] = SLURM_STEPS_OVERLAP

    def __init__(self, program: str = "mpirun") -> None:
        self._program = program

    def command(self, launch: Launch) -> list[str]:
        params = [_option(name, value) for name, value in launch.params.items()]
        hosts = [host.name for host in launch.hosts]
        own = [*_shape(hosts, launch.ranks_per_node), *_exported(launch.environment)]
        return launch_line(self._program, own, params, _bound(launch))

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        own: list[Option] = [
            *_shape(hosts, 1),
            # One worker that dies takes no other with it.
            ("--mca", "orte_abort_on_non_zero_status", "0"),
            ("--enable-recovery",),
            *_exported(environment),
        ]
        return launch_line(self._program, own, (), words)


def _shape(hosts: Sequence[str], ranks_per_node: int) -> Iterable[Option]:
    return [
        ("-n", str(len(hosts) * ranks_per_node)),
        ("--host", ",".join(f"{host}:{ranks_per_node}" for host in hosts)),
        ("--map-by", f"ppr:{ranks_per_node}:node:OVERSUBSCRIBE"),
        ("--bind-to", "none"),
    ]


def _exported(names: Collection[str]) -> Iterable[Option]:
    return [("-x", name) for name in sorted(names)]


def _bound(launch: Launch) -> list[str]:
    sets = [",".join(map(str, cpus)) for cpus in launch.cpu_sets]
    if not sets or "bind_to" in launch.params or "bind-to" in launch.params:
        return list(launch.words)
    return ["sh", "-c", _BIND, str(len(sets)), *sets, *launch.words]
