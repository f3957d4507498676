"""What MPI launchers print that are given another one's options, or are not there: the setting is wrong."""

from __future__ import annotations

import re

_PROGRAM = r"(mpi(run|exec)(\.\w+)?|prterun|orterun|prun|srun|aprun)"
_UNKNOWN = re.compile(
    rf"^(\[{_PROGRAM}@|(\S*/)?{_PROGRAM}: ).*(unrecogni[sz]ed|unknown|invalid|illegal) (argument|option|flag)"
    rf"|^(\S*/)?{_PROGRAM}: .*requires an argument",
    re.IGNORECASE,
)
_MISSING = re.compile(
    rf"(\b{_PROGRAM}|'{_PROGRAM}'): (command )?not found$|can't start '{_PROGRAM}': .*", re.IGNORECASE
)
SETTING = "launcher.mpi_app_launcher in the site's settings.yml"


def wrong_launcher(name: str, line: str, names: list[str]) -> str | None:
    """What to change where a run's reason is that its MPI launcher is not the one that settings name.

    `name`: the one that they name; `names`: those that there are.
    """
    others = ", ".join(names)
    if _UNKNOWN.search(line):
        return (
            f"the program that starts MPI here refused an option of {name}, so that it is another one: set "
            f"{SETTING} to what `mpiexec --version` tells ({others})"
        )
    if _MISSING.search(line):
        return (
            f"{name} is not installed, or not on PATH, where the launcher runs: load its module in the app's "
            f"shell_preamble or in job-template.sh, or set {SETTING} ({others})"
        )
    return None
