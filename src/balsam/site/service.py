"""Of Balsam 0.7: the services of a site's agent."""

from balsam.core import gone

__getattr__ = gone.of_module(
    __name__,
    (
        "ElasticQueueService",
        "FileCleanerService",
        "ProcessingService",
        "QueueMaintainerService",
        "SchedulerService",
        "TransferService",
    ),
    "`balsam site start` starts the agent, whose services the sections of settings.yml turn on",
)
