"""Of Balsam 0.7: classes that started runs. `settings.yml` still takes their names."""

from balsam.core import gone

__getattr__ = gone.of_module(
    __name__,
    (
        "AppRun",
        "AuroraRun",
        "LocalAppRun",
        "MPICHRun",
        "OpenMPIRun",
        "PerlmutterRun",
        "PolarisRun",
        "SlurmRun",
        "SummitJsrun",
        "ThetaAprun",
        "ThetaGPURun",
    ),
    "a machine is a file, and `mpi` in it names the MPI launcher (docs/machines.md)",
)
