"""Of Balsam 0.7: classes that moved files."""

from balsam.core import gone

__getattr__ = gone.of_module(
    __name__,
    (
        "GlobusTransferInterface",
        "TaskInfo",
        "TransferInterface",
        "TransferRetryableError",
        "TransferSubmitError",
    ),
    "jobs name their files in `transfers`, and TransferItem.objects lists them",
)
