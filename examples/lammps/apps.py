"""The application of the ensemble: LAMMPS on one of the inputs that it ships, with some commands changed.

Its hooks run at the site, in the workdir of each job, and this file and `log` travel there with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from balsam.api import ApplicationDefinition, JobState
from examples.lammps.log import lost_atoms, parse_log

SITE = "lammps"
SHORTER = 4  # a time step that lost atoms is cut to such a part


def edited(source: str, commands: Mapping[str, str]) -> str:
    """An input with other arguments of some commands; `velocity` stands for the first line of that command.

    What the input does not say is said before its first `run`.
    """
    for name, arguments in commands.items():
        line = f"{name} {arguments}\n"
        source, count = re.subn(rf"^{name}\s.*\n?", line.replace("\\", r"\\"), source, count=1, flags=re.M)
        if not count:
            source = re.sub(r"^run\s", f"{line}run ", source, count=1, flags=re.M)
    return source


class Simulate(ApplicationDefinition):
    """Runs LAMMPS; `job.data` names the input and its changes, and holds afterwards what its log says."""

    site = SITE
    command_template = "lmp -in in.lammps -log log.lammps"

    def preprocess(self) -> None:
        self._write_input()
        self.job.state = JobState.preprocessed

    def postprocess(self) -> None:
        self.job.data = {**self.job.data, **parse_log(Path("log.lammps").read_text())}
        self.job.state = JobState.postprocessed

    def handle_error(self) -> None:
        """Mends the one mistake that it knows, once: atoms are lost where the time step is too long."""
        log = Path("log.lammps")
        if "mended" in self.job.data or not log.exists() or not lost_atoms(log.read_text()):
            self.job.state = JobState.failed
            return
        commands = self.job.data["commands"]
        before = float(commands.get("timestep", 0.005))
        after = before / SHORTER
        self.job.data = {
            **self.job.data,
            "commands": {**commands, "timestep": f"{after:g}"},
            "mended": f"time step {after:g}, for {before:g} lost atoms",
        }
        self._write_input()
        self.job.state = JobState.restart_ready

    def _write_input(self) -> None:
        source = Path(self.job.data["input"]).read_text()
        Path("in.lammps").write_text(edited(source, self.job.data["commands"]))
