"""When the allocation of this process ends, by the word of its batch system.

A launcher's own start is no measure: before it come prologs, modules and a slow file system.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from balsam.platform.schedulers import flux, lsf, pbs, slurm
from balsam.platform.schedulers.commands import Call, CommandLine, Done, Surroundings

ASK_SEC = 10.0  # nothing runs meanwhile

# For each batch system: what tells from the environment, or how to ask; who reads the answer.
Teller = Callable[[Mapping[str, str]], float | Call | None]
TELLERS: tuple[tuple[Teller, Callable[[Done], float | None], Surroundings], ...] = (
    (slurm.end_of_allocation, slurm.read_end, slurm.SURROUNDINGS),
    (pbs.end_of_allocation, pbs.read_end, pbs.SURROUNDINGS),
    (lsf.end_of_allocation, lsf.read_end, lsf.SURROUNDINGS),
    (flux.end_of_allocation, flux.read_end, flux.SURROUNDINGS),
)


def seconds_left(environ: Mapping[str, str]) -> float | None:
    """Until the allocation ends; None where there is none, or nobody tells."""
    for tell, read, surroundings in TELLERS:
        end: float | Call | None = tell(environ)
        if isinstance(end, Call):
            end = read(CommandLine(surroundings, environ, ASK_SEC, gap_sec=0.0).run(end))
        if end is not None:
            return end - time.time()
    return None
