"""MPI launchers: from a run's facts to the command line that starts it, one file for each launcher."""

from __future__ import annotations

from collections.abc import Callable

from balsam.platform.mpi.launch import MpiLauncher
from balsam.platform.mpi.local import Local
from balsam.platform.mpi.mpich import Mpich
from balsam.platform.mpi.openmpi import OpenMpi
from balsam.platform.mpi.pals import Pals
from balsam.platform.mpi.slurm import Srun

_LAUNCHERS: dict[str, Callable[[], MpiLauncher]] = {
    Local.name: Local,
    Mpich.name: Mpich,
    OpenMpi.name: OpenMpi,
    Pals.name: Pals,
    Srun.name: Srun,
}

# Older settings name classes by dotted paths; the last part of each that has a launcher here.
_OLDER_NAMES = {
    "AppRun": Mpich.name,
    "LocalAppRun": Local.name,
    "MPICHRun": Mpich.name,
    "OpenMPIRun": OpenMpi.name,
    "PerlmutterRun": Srun.name,
    "AuroraRun": Pals.name,
    "PolarisRun": Pals.name,
    "SlurmRun": Srun.name,
}


class UnknownLauncher(ValueError):
    """There is no MPI launcher of this name; the sentence lists those that there are."""


def launcher_names() -> list[str]:
    return sorted(_LAUNCHERS)


def launcher_name(name: str) -> str:
    """The short name of an MPI launcher, from itself or from an older dotted path; raises UnknownLauncher."""
    short = _OLDER_NAMES.get(name.rpartition(".")[2], name)
    if short not in _LAUNCHERS:
        raise UnknownLauncher(
            f"there is no MPI launcher {name!r} here; there are: {', '.join(launcher_names())}"
        )
    return short


def find(name: str) -> MpiLauncher:
    """The MPI launcher of a short name or an older dotted path; raises UnknownLauncher."""
    return _LAUNCHERS[launcher_name(name)]()
