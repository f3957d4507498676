"""Of Balsam 0.7: classes that described nodes. `settings.yml` still takes their names."""

from balsam.core import gone

__getattr__ = gone.of_module(
    __name__,
    (
        "AuroraNode",
        "ComputeNode",
        "CooleyNode",
        "DefaultNode",
        "PerlmutterNode",
        "PolarisNode",
        "SummitNode",
        "ThetaGPUNode",
        "ThetaKNLNode",
    ),
    "a machine is a file, and `nodes` in it describes them (docs/machines.md)",
)
