"""Transfer items: files staged in or out for a job."""

from typing import Any

from balsam.core.states import TransferDirection, TransferItemState
from balsam.schemas.types import Id, JsonDict, Text, Wire


class TransferItemUpdate(Wire):
    state: TransferItemState | None = None
    task_id: Text | None = None
    transfer_info: JsonDict | None = None


class TransferItemBulkUpdate(TransferItemUpdate):
    id: Id


class TransferItemOut(Wire):
    id: Id
    job_id: int
    direction: TransferDirection
    local_path: str
    remote_path: str
    location_alias: str
    recursive: bool
    state: TransferItemState
    task_id: str
    transfer_info: dict[str, Any]


class PaginatedTransferItemOut(Wire):
    count: int | None
    results: list[TransferItemOut]
