"""TransferItems: files that are staged in or out for a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypedDict, Unpack

from balsam.core.states import JobState, TransferDirection, TransferItemState
from balsam.sdk.fields import OBJECT, PATH, PLAIN, READ, UPDATE, Field, enum
from balsam.sdk.filters import TagFilter
from balsam.sdk.model import Model
from balsam.sdk.query import Manager, Query
from balsam.sdk.sites import Site

LATER = UPDATE | READ


class TransferItemUpdates(TypedDict, total=False):
    state: TransferItemState | str
    task_id: str
    transfer_info: Mapping[str, Any]


class TransferItemFilters(TypedDict, total=False):
    id: int | Iterable[int]
    site_id: int | Site
    job_id: int | Iterable[int]
    state: TransferItemState | str | Iterable[TransferItemState | str]
    direction: TransferDirection | str
    job_state: JobState | str
    tags: TagFilter


class TransferItem(Model):
    """One file or folder on its way into a job's workdir or out of it; made with the job."""

    ROUTE = "/transfers/"
    DELETABLE = False
    SHOWN = ("id", "job_id", "direction", "local_path", "state")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "job_id": Field(READ, PLAIN),
        "direction": Field(READ, enum(TransferDirection)),
        "local_path": Field(READ, PATH),
        "remote_path": Field(READ, PATH),
        "location_alias": Field(READ, PLAIN),
        "recursive": Field(READ, PLAIN),
        "state": Field(LATER, enum(TransferItemState)),
        "task_id": Field(LATER, PLAIN, ""),
        "transfer_info": Field(LATER, OBJECT, {}),
    }
    objects: ClassVar[TransferItemManager]

    job_id: int
    direction: TransferDirection
    local_path: Path
    remote_path: Path
    location_alias: str
    recursive: bool
    state: TransferItemState
    task_id: str
    transfer_info: dict[str, Any]

    def _create(self) -> NoReturn:
        self._has_no_route("created")


class TransferItemQuery(Query[TransferItem]):
    """TransferItems that match filters."""

    POSITIONS = tuple(TransferItemFilters.__annotations__)
    FILTERS = ("site_id", "direction", "job_state", "tags")
    LIST_FILTERS = ("id", "job_id", "state")
    ENUM_FILTERS = {"state": TransferItemState, "direction": TransferDirection, "job_state": JobState}
    UPDATE_IN_BULK = True
    DELETE_BY_QUERY = True

    def filter(self, *values: Any, **filters: Unpack[TransferItemFilters]) -> TransferItemQuery:
        """`job_state` and `tags` are those of the items' jobs."""
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[TransferItemFilters]) -> TransferItem:
        return self.narrowed(filters, values).the_one()

    def update(self, **values: Unpack[TransferItemUpdates]) -> int:
        return self.change(values)


class TransferItemManager(Manager[TransferItem, TransferItemQuery]):
    """`TransferItem.objects`."""

    def filter(self, *values: Any, **filters: Unpack[TransferItemFilters]) -> TransferItemQuery:
        """`job_state` and `tags` are those of the items' jobs."""
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[TransferItemFilters]) -> TransferItem:
        return self.all().get(*values, **filters)


TransferItem.objects = TransferItemManager(TransferItem, TransferItemQuery)
