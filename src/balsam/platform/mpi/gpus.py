"""How a run is told which GPUs are its own: by a variable, which differs from maker to maker.

All ranks of a run on a node see all its GPUs there, numbered from 0; which of them a rank takes is up to
the program, as programs that speak from GPU to GPU need it.
"""

from __future__ import annotations

from collections.abc import Sequence

VARIABLE_OF = {
    "nvidia": "CUDA_VISIBLE_DEVICES",
    "intel": "ZE_AFFINITY_MASK",
    "amd": "ROCR_VISIBLE_DEVICES",
}
GPU_VARIABLES = tuple(VARIABLE_OF.values())


def gpu_environment(maker: str, gpus: Sequence[str]) -> dict[str, str]:
    """The variable that names a run's GPUs of one node; none without GPUs. `maker`: a key of VARIABLE_OF."""
    return {VARIABLE_OF[maker]: ",".join(gpus)} if gpus else {}
