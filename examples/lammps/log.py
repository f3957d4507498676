"""What a log of LAMMPS says of its last run."""

from __future__ import annotations

import re
from typing import Any

LOOP = re.compile(r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", re.MULTILINE)
SPEED = re.compile(r"^Performance:.* (\S+) timesteps/s", re.MULTILINE)


class NoRun(ValueError):
    """A log without a run that came to its end."""


def parse_log(text: str) -> dict[str, Any]:
    """Seconds, ranks, steps, atoms, timesteps per second, and the last row of what it printed on its way.

    `temperature` and `energy` are in the units of the input. Raises NoRun.
    """
    loops, speeds = list(LOOP.finditer(text)), list(SPEED.finditer(text))
    if not loops or not speeds:
        raise NoRun("the log has no line `Loop time of ...`: the run did not come to its end")
    seconds, ranks, steps, atoms = loops[-1].groups()
    last = _last_row(text[: loops[-1].start()])
    return {
        "seconds": float(seconds),
        "ranks": int(ranks),
        "steps": int(steps),
        "atoms": int(atoms),
        "timesteps_per_sec": float(speeds[-1].group(1)),
        "temperature": last["Temp"],
        "energy": last["TotEng"],
    }


def lost_atoms(text: str) -> bool:
    """Whether it ended since atoms flew out of the box, as they do when the time step is too long."""
    return "ERROR: Lost atoms" in text


def _last_row(table: str) -> dict[str, float]:
    """The row above the text's end, by the names of the heading above it."""
    lines = table.rstrip().splitlines()
    headings = [line.split() for line in lines if line.split()[:1] == ["Step"]]
    if not headings:
        raise NoRun("the log has no table that begins with `Step`: does the input change thermo_style?")
    return dict(zip(headings[-1], map(float, lines[-1].split()), strict=True))
