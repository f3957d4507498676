"""Apps: what the server knows of an ApplicationDefinition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack

from balsam.core.clock import UtcDatetime
from balsam.schemas import AppParameter, ClassSerializer, TransferSlot
from balsam.sdk.fields import FULL, PLAIN, READ, TIME, TREE, Field, schema
from balsam.sdk.model import Model
from balsam.sdk.query import Manager, Query
from balsam.sdk.sites import Site


class AppOptions(TypedDict, total=False):
    description: str
    parameters: dict[str, AppParameter] | None
    transfers: dict[str, TransferSlot] | None
    hooks: list[str] | None
    isolate: bool
    serializer: ClassSerializer | dict[str, str] | None


class AppUpdates(AppOptions, total=False):
    site_id: int
    name: str
    serialized_class: str
    source_code: str


class AppFilters(TypedDict, total=False):
    site_id: int | Site | Iterable[int]
    id: int | Iterable[int]
    name: str
    site_path: str | Path
    site_name: str


@dataclass(frozen=True, slots=True)
class AppVersion:
    """What a sync has made of an app. `created` None: before versions were kept.

    `changed`: names of the functions, classes and values that the version before had otherwise; None where a
    client did not tell them. `restores`: the number of an earlier version that had the same code.
    """

    number: int
    digest: str
    created: UtcDatetime | None
    synced_by: str | None
    source_code: str
    changed: list[str] | None
    restores: int | None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> AppVersion:
        return cls(**{**row, "created": TIME.to_python(row["created"])})


class App(Model):
    """A registered application; made by `ApplicationDefinition.sync()`, unique by site and name.

    `hooks`: names of the hooks that its class overrides; None where an older client registered it.
    `version`: the number of its newest version, and `digest` that one's code.
    """

    ROUTE = "/apps/"
    SHOWN = ("id", "name", "site_id")
    COLUMNS = (*SHOWN, "description")
    FIELDS = {
        "id": Field(READ, PLAIN),
        "site_id": Field(FULL, PLAIN),
        "name": Field(FULL, PLAIN),
        "serialized_class": Field(FULL, PLAIN),
        "source_code": Field(FULL, PLAIN),
        "description": Field(FULL, PLAIN, ""),
        "parameters": Field(FULL, schema(dict[str, AppParameter]), {}),
        "transfers": Field(FULL, schema(dict[str, TransferSlot]), {}),
        "hooks": Field(FULL, TREE),
        "isolate": Field(FULL, PLAIN, False),
        "serializer": Field(FULL, schema(ClassSerializer)),
        "version": Field(READ, PLAIN),
        "digest": Field(READ, PLAIN, ""),
    }
    objects: ClassVar[AppManager]

    site_id: int
    name: str
    serialized_class: str
    source_code: str
    description: str
    parameters: dict[str, AppParameter]
    transfers: dict[str, TransferSlot]
    hooks: list[str] | None
    isolate: bool
    serializer: ClassSerializer | None
    version: int
    digest: str

    def __init__(
        self,
        site_id: int,
        name: str,
        serialized_class: str,
        source_code: str,
        **options: Unpack[AppOptions],
    ) -> None:
        super().__init__(
            site_id=site_id,
            name=name,
            serialized_class=serialized_class,
            source_code=source_code,
            **options,
        )

    def versions(self) -> list[AppVersion]:
        """What each sync that changed the app has left, the newest first."""
        self._must_be_saved("tell the versions of")
        rows = self.client().get(f"{self.ROUTE}{self.id}/versions")["results"]
        return [AppVersion.of_row(row) for row in rows]


class AppQuery(Query[App]):
    """Apps that match filters."""

    POSITIONS = tuple(AppFilters.__annotations__)
    FILTERS = ("name", "site_path", "site_name")
    LIST_FILTERS = ("site_id", "id")

    def filter(self, *values: Any, **filters: Unpack[AppFilters]) -> AppQuery:
        """`name` and `site_name` match exactly, `site_path` a part."""
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[AppFilters]) -> App:
        return self.narrowed(filters, values).the_one()

    def update(self, **values: Unpack[AppUpdates]) -> int:
        return self.change(values)


class AppManager(Manager[App, AppQuery]):
    """`App.objects`."""

    def create(
        self,
        site_id: int,
        name: str,
        serialized_class: str,
        source_code: str,
        **options: Unpack[AppOptions],
    ) -> App:
        return self.created(App(site_id, name, serialized_class, source_code, **options))

    def filter(self, *values: Any, **filters: Unpack[AppFilters]) -> AppQuery:
        """`name` and `site_name` match exactly, `site_path` a part."""
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[AppFilters]) -> App:
        return self.all().get(*values, **filters)

    def named(self, name: str, site_name: str | None = None) -> App:
        """The app of this name; without a site's name, the only one at any site."""
        return self.get(name=name) if site_name is None else self.get(name=name, site_name=site_name)


App.objects = AppManager(App, AppQuery)
