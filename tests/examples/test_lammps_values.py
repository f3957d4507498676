"""What the LAMMPS ensemble reads, edits and decides, as values and with stand-ins for its programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demonstration import DemonstrationFailed
from examples.lammps.apps import edited
from examples.lammps.ensemble import members
from examples.lammps.log import NoRun, lost_atoms, parse_log
from examples.lammps.programs import find_programs

LOG = (Path(__file__).parent / "recorded" / "melt.log").read_text()
OPEN_MPI = "echo 'mpirun (Open MPI) 4.1.4'"
MPICH = "echo 'HYDRA build details:'"
LMP = "echo 'MPI v3.1: Open MPI v4.1.4, package: Debian OpenMPI'"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder for programs, beside one with inputs."""
    (tmp_path / "inputs" / "melt").mkdir(parents=True)
    (tmp_path / "inputs" / "melt" / "in.melt").touch()
    (tmp_path / "programs").mkdir()
    return tmp_path


def install(machine: Path, name: str, text: str) -> Path:
    program = machine / "programs" / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def found(machine: Path) -> str:
    programs = find_programs(machine / "inputs", str(machine / "programs"))
    return f"{programs.mpi.setting} {programs.launcher.name}"


def test_log_tells_speed_and_the_last_row() -> None:
    assert parse_log(LOG) == {
        "seconds": 0.469677,
        "ranks": 2,
        "steps": 25,
        "atoms": 4000,
        "timesteps_per_sec": 53.228,
        "temperature": 2.0710827,
        "energy": -0.76469071,
    }


def test_last_of_several_runs_counts() -> None:
    second = LOG.replace("53.228 timesteps/s", "99.5 timesteps/s, 398 katom-step/s")
    assert parse_log(LOG + second)["timesteps_per_sec"] == 99.5


def test_log_of_a_run_that_broke_off_is_refused() -> None:
    broken = LOG[: LOG.index("Loop time")] + "ERROR: Lost atoms: original 4000 current 652\n"
    assert lost_atoms(broken) and not lost_atoms(LOG)
    with pytest.raises(NoRun, match="Loop time"):
        parse_log(broken)


def test_input_gets_other_arguments_and_what_it_lacks() -> None:
    source = "lattice\t\tfcc 0.8\nvelocity all create 3.0\nvelocity upper set 0\nrun\t\t250\n"
    changed = edited(
        source, {"lattice": "fcc 1", "velocity": "all create 1.5", "timestep": "0.01", "run": "9"}
    )
    assert changed == "lattice fcc 1\nvelocity all create 1.5\nvelocity upper set 0\ntimestep 0.01\nrun 9\n"


def test_members_differ_and_a_small_ensemble_has_all_of_them() -> None:
    large, small = members(), members(0.1)
    assert len({str(one) for one in large}) == len(large) == 10
    assert [one.name for one in small] == [one.name for one in large]
    assert int(small[0].commands["run"]) * 10 == int(large[0].commands["run"])


def test_mpirun_of_the_mpi_that_lammps_was_built_with_is_chosen(machine: Path) -> None:
    install(machine, "lmp", LMP)
    install(machine, "mpirun", OPEN_MPI)
    assert found(machine) == "openmpi mpirun"
    install(machine, "mpirun", MPICH)
    install(machine, "mpirun.openmpi", OPEN_MPI)
    assert found(machine) == "openmpi mpirun.openmpi"
    install(machine, "lmp", "echo 'MPI v3.1: MPICH Version: 4.0.2'")
    install(machine, "mpiexec.hydra", MPICH)
    assert found(machine) == "mpich mpiexec.hydra"


def test_program_of_another_name_is_found_by_the_one_that_is_started(machine: Path) -> None:
    install(machine, "lmp", LMP)
    own = install(machine, "mpirun.openmpi", OPEN_MPI)
    programs = find_programs(machine / "inputs", str(machine / "programs"))
    for _ in range(2):  # the second time the link is there
        assert programs.settled_in(machine / "bin", "/usr/bin") == f"{machine / 'bin'}:/usr/bin"
    assert (machine / "bin" / "mpirun").resolve() == own


def test_what_is_missing_is_named_with_its_package(machine: Path) -> None:
    with pytest.raises(DemonstrationFailed, match=r"no LAMMPS .* apt-get install lammps"):
        found(machine)
    install(machine, "lmp", LMP)
    install(machine, "mpirun", MPICH)
    with pytest.raises(DemonstrationFailed, match=r"no mpirun of Open MPI .* apt-get install openmpi-bin"):
        found(machine)
    (machine / "inputs" / "melt" / "in.melt").unlink()
    with pytest.raises(DemonstrationFailed, match="--inputs"):
        found(machine)
