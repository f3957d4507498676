"""The name under which scripts for Balsam 0.7 import `balsam.schemas.transfers`."""

from balsam.core.states import TransferDirection, TransferItemState
from balsam.schemas.transfers import (
    PaginatedTransferItemOut,
    TransferItemBulkUpdate,
    TransferItemOut,
    TransferItemUpdate,
)

__all__ = [
    "PaginatedTransferItemOut",
    "TransferDirection",
    "TransferItemBulkUpdate",
    "TransferItemOut",
    "TransferItemState",
    "TransferItemUpdate",
]
