"""The two-dimensional Ising model by Metropolis's rule (1953), coupling and k_B being 1.

python ising.py TEMPERATURE SWEEPS: one of several ranks of a step of Slurm, which writes rank-N.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

SIDE = 48


def magnetization(temperature: float, sweeps: int, seed: int) -> float:
    """The mean of |m| per spin, over the second half of the sweeps; raises ValueError for no temperature.

    Above 2.269 (Onsager, 1944) an infinite magnet has none.
    """
    import numpy as np

    if temperature <= 0:
        raise ValueError(f"a temperature is above 0: {temperature:g}")
    rng = np.random.default_rng(seed)
    spins = np.ones((SIDE, SIDE), dtype=np.int8)
    black = np.indices(spins.shape).sum(axis=0) % 2 == 0
    seen = []
    for sweep in range(sweeps):
        for color in (black, ~black):  # neighbours have the other colour: all of one may flip at once
            field = sum(np.roll(spins, shift, axis) for axis in (0, 1) for shift in (1, -1))
            flips = rng.random(spins.shape) < np.exp(-2.0 * spins * field / temperature)
            spins[flips & color] *= -1
        if sweep >= sweeps // 2:
            seen.append(abs(float(spins.mean())))
    return sum(seen) / len(seen)


def main(temperature: float, sweeps: int) -> None:
    """As one rank."""
    rank = int(os.environ["SLURM_PROCID"])
    told = {
        "magnetization": magnetization(temperature, sweeps, seed=rank),
        "node": os.environ["SLURMD_NODENAME"],
    }
    Path(f"rank-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
