"""Of Balsam 0.7: classes that spoke with batch schedulers. `settings.yml` still takes their names."""

from balsam.core import gone

__getattr__ = gone.of_module(
    __name__,
    (
        "CobaltScheduler",
        "DelayedSubmitFail",
        "LocalProcessScheduler",
        "LsfScheduler",
        "PBSScheduler",
        "SchedulerDeleteError",
        "SchedulerError",
        "SchedulerInterface",
        "SchedulerNonZeroReturnCode",
        "SchedulerSubmitError",
        "SlurmScheduler",
    ),
    "BatchJob.objects.create() asks a site for nodes, and its agent speaks with the scheduler "
    "(docs/machines.md)",
)
