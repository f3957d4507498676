"""The applications of the campaign: a magnet at one temperature, and copies of it on several nodes.

Both simulate the two-dimensional Ising model by Metropolis's rule; `ising.py` travels to the site.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

from balsam.api import ApplicationDefinition, JobState
from examples.slurm.ising import magnetization

SITE = "private-slurm"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Magnet(ApplicationDefinition):
    """One temperature, on one GPU's share of a node; returns the magnetization, and where it was found."""

    site = SITE
    environment_variables = ONE_THREAD

    def run(self, temperature: float, sweeps: int, seed: int) -> dict[str, float | str]:
        found = magnetization(temperature, sweeps, seed)
        Path("magnetization.txt").write_text(f"{temperature:g} {found:.4f}\n")
        return {"magnetization": found, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


class Replicas(ApplicationDefinition):
    """The same temperature once on each rank; a hook takes the mean of the files that they write."""

    site = SITE
    environment_variables = ONE_THREAD
    command_template = "{{ python }} {{ program }} {{ temperature }} {{ sweeps }}"

    def postprocess(self) -> None:
        told = [json.loads(file.read_text()) for file in sorted(Path.cwd().glob("rank-*.json"))]
        mean = statistics.fmean(rank["magnetization"] for rank in told)
        nodes = sorted({rank["node"] for rank in told})
        self.job.data = {**self.job.data, "magnetization": mean, "ranks": len(told), "nodes": nodes}
        self.job.state = JobState.postprocessed
