"""Finds LAMMPS, its inputs, and the MPI launcher that fits: an `mpirun` of another MPI starts ranks that
do not know of each other."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from examples.demonstration import DemonstrationFailed

INPUTS = Path("/usr/share/lammps/examples")
INSTALL = "on Debian or Ubuntu, as root: apt-get install lammps lammps-examples"
ROOT_MAY_RUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@dataclass(frozen=True)
class Mpi:
    """`name`: as `lmp -h` says it. `setting`: of launcher.mpi_app_launcher, which starts `program`.

    `own_name`: of the same program where Debian has another MPI beside it. `proof`: in what it says of its
    version. `launch_params`: ranks that wait for each other let others have the core meanwhile.
    """

    name: str
    setting: str
    program: str
    own_name: str
    proof: str
    package: str
    launch_params: tuple[tuple[str, str], ...] = ()


OPEN_MPI = Mpi(
    "Open MPI",
    "openmpi",
    "mpirun",
    "mpirun.openmpi",
    "Open MPI",
    "openmpi-bin",
    (("--mca", "mpi_yield_when_idle 1"),),
)
MPICH = Mpi("MPICH", "mpich", "mpiexec.hydra", "mpiexec.mpich", "HYDRA", "mpich")


@dataclass(frozen=True)
class Programs:
    """`launcher`: the program that starts the ranks."""

    inputs: Path
    mpi: Mpi
    launcher: Path

    def settled_in(self, folder: Path, path: str) -> str:
        """A search path on which the MPI's program is found by the name that the setting starts."""
        if self.launcher.name == self.mpi.program:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / self.mpi.program
        link.unlink(missing_ok=True)
        link.symlink_to(self.launcher)
        return f"{folder}:{path}"


def find_programs(inputs: Path, path: str) -> Programs:
    """What this machine has; raises DemonstrationFailed with what to install. `path`: to search."""
    lammps = shutil.which("lmp", path=path)
    if lammps is None:
        raise DemonstrationFailed(f"there is no LAMMPS (lmp) on the PATH; {INSTALL}")
    if not (inputs / "melt" / "in.melt").exists():
        raise DemonstrationFailed(
            f"there are no inputs of LAMMPS in {inputs}: name their folder with --inputs; or {INSTALL}"
        )
    mpi = _mpi_of(lammps)
    for name in (mpi.program, mpi.own_name):
        program = shutil.which(name, path=path)
        if program is not None and mpi.proof in _said(program, "--version"):
            return Programs(inputs, mpi, Path(program))
    raise DemonstrationFailed(
        f"{lammps} was built with {mpi.name}, and there is no {mpi.program} of {mpi.name} on the PATH; "
        f"on Debian or Ubuntu, as root: apt-get install {mpi.package}"
    )


def _mpi_of(lammps: str) -> Mpi:
    said = _said(lammps, "-h")
    for mpi in (OPEN_MPI, MPICH):
        if mpi.name in said:
            return mpi
    raise DemonstrationFailed(
        f"{lammps} was built with neither Open MPI nor MPICH, as `lmp -h` says; {INSTALL}"
    )


def _said(program: str, option: str) -> str:
    done = subprocess.run(
        [program, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
