"""Slurm's srun, 22.05 and later."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from balsam.platform.mpi.gpus import GPU_VARIABLES
from balsam.platform.mpi.launch import Launch, Option, equals_option, launch_line


class Srun:
    """`srun`, a step of the allocation that it is started in.

    What a run may use is the caller's decision: steps overlap, so that none waits for CPUs, memory or GPUs
    that Slurm counts for another.
    """

    name = "srun"
    environment: Mapping[str, str] = {}

    def __init__(self, program: str = "srun") -> None:
        self._program = program

    def command(self, launch: Launch) -> list[str]:
        params = [equals_option(name, value) for name, value in launch.params.items()]
        return launch_line(self._program, _options(launch), params, _words(launch))

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        own: list[Option] = [
            *_shape(hosts, 1),
            ("--cpu-bind=none",),
            # One worker that dies, or its node, takes no other with it.
            ("--kill-on-bad-exit=0",),
            ("--wait=0",),
            ("--no-kill",),
        ]
        return launch_line(self._program, own, (), words)


def _shape(hosts: Sequence[str], ranks_per_node: int) -> Iterator[Option]:
    yield (f"--nodes={len(hosts)}",)
    yield (f"--ntasks={len(hosts) * ranks_per_node}",)
    yield (f"--ntasks-per-node={ranks_per_node}",)
    yield (f"--nodelist={','.join(hosts)}",)
    yield ("--overlap",)
    yield ("--overcommit",)
    yield ("--mem=0",)
    yield ("--export=ALL",)


def _options(launch: Launch) -> Iterator[Option]:
    yield from _shape([host.name for host in launch.hosts], launch.ranks_per_node)
    masks = ",".join(_mask(cpus) for cpus in launch.cpu_sets)
    yield (f"--cpu-bind=mask_cpu:{masks}" if masks else "--cpu-bind=none",)
    yield ("--kill-on-bad-exit=1",)


def _mask(cpus: Sequence[int]) -> str:
    return hex(sum(1 << cpu for cpu in cpus))


def _words(launch: Launch) -> list[str]:
    """The program, behind `env` where it has GPUs: Slurm names those of the whole allocation to each step."""
    chosen = [f"{name}={launch.environment[name]}" for name in GPU_VARIABLES if name in launch.environment]
    return [*(["env", *chosen] if chosen else []), *launch.words]
