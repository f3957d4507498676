"""No MPI at all: one process on this host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from balsam.core.plural import counted
from balsam.platform.mpi.launch import Launch, LaunchError


class Local:
    """Starts the program itself; what it may use of the node is up to the program."""

    name = "local"
    environment: Mapping[str, str] = {}

    def command(self, launch: Launch) -> list[str]:
        if launch.ranks > 1:
            raise LaunchError(
                f"it asks for {counted(launch.ranks, 'rank')}, and this site starts programs without MPI: "
                "set launcher.mpi_app_launcher in its settings.yml, for example to openmpi or mpich"
            )
        if launch.params:
            raise LaunchError(
                f"it has launch_params ({', '.join(launch.params)}), and this site starts programs without a "
                "launcher that could take them: set launcher.mpi_app_launcher in its settings.yml"
            )
        return list(launch.words)

    def worker_command(
        self, hosts: Sequence[str], words: Sequence[str], environment: Collection[str] = ()
    ) -> list[str]:
        if len(hosts) != 1:
            raise LaunchError(
                f"there are {counted(len(hosts), 'node')}, and this site starts programs without MPI: set "
                "launcher.mpi_app_launcher in its settings.yml"
            )
        return list(words)
