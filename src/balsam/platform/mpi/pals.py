"""The mpiexec of HPE's PALS, as on Aurora and Polaris."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from balsam.platform.mpi.launch import Launch, Option, launch_line, words_option

_option = words_option("--")


class Pals:
    """`mpiexec`. It passes its whole environment to all ranks."""

    name = "pals"
    environment: Mapping[str, str] = {}

    def __init__(self, program: str = "mpiexec") -> None:
        self._program = program

    def command(self, launch: Launch) -> list[str]:
        params = [_option(name, value) for name, value in launch.params.items()]
        return launch_line(self._program, _options(launch), params, launch.words)

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        own: list[Option] = [
            *_shape(hosts, 1),
            ("--cpu-bind", "none"),
            # One worker that dies takes no other with it.
            ("--no-abort-on-failure",),
            ("--line-buffer",),
        ]
        return launch_line(self._program, own, (), words)


def _shape(hosts: Sequence[str], ranks_per_node: int) -> Iterator[Option]:
    yield ("-n", str(len(hosts) * ranks_per_node))
    yield ("--ppn", str(ranks_per_node))
    yield ("--hosts", ",".join(hosts))
    yield ("--envall",)


def _options(launch: Launch) -> Iterator[Option]:
    yield from _shape([host.name for host in launch.hosts], launch.ranks_per_node)
    sets = ":".join(",".join(map(str, cpus)) for cpus in launch.cpu_sets)
    if sets:
        yield ("--cpu-bind", f"list:{sets}")
    else:
        yield ("--depth", str(launch.threads_per_rank))
        yield ("--cpu-bind", "depth")
