"""On whose behalf a statement runs, and the conditions that keep it to that."""

from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """A user, or (`site_id` set) an agent or launcher with the token of one of that user's sites."""

    user_id: int
    site_id: int | None = None

    @property
    def everywhere(self) -> "Owner":
        """The same user at all sites: a parent may be at another site than its child."""
        return Owner(self.user_id)


def mine(table: Table, owner: Owner, *, searched: bool = False) -> list[ColumnElement[bool]]:
    """The owner's rows of a table. `searched`: nothing else in the statement narrows it down."""
    user: ColumnElement[Any] = table.c.owner_id
    conditions = [(user if searched else checked(user)) == owner.user_id]
    if owner.site_id is None:
        return conditions
    site = table.c.id if table.name == "sites" else table.c.site_id
    return [*conditions, checked(site) == owner.site_id]


def owned(owner: Owner) -> dict[str, int]:
    """`mine` as columns and their values, for statements that go straight to the driver."""
    return {"owner_id": owner.user_id} | ({} if owner.site_id is None else {"site_id": owner.site_id})


class _Checked(ColumnElement[T]):
    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]

    def __init__(self, column: ColumnElement[T]) -> None:
        self.column = column
        self.type = column.type


@compiles(_Checked)
def _plain(element: _Checked[Any], compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(_Checked, "sqlite")
def _unary_plus(element: _Checked[Any], compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.column, **options)}"


def checked(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column as one that is compared but, on SQLite, never searched by: unary plus hides it from indexes.

    Every statement names the owner. Where ids, tags or a session already choose a few rows, a planner
    without statistics may still go through the index of everything that the owner has. PostgreSQL keeps
    statistics and gets the plain column.
    """
    return _Checked(column)
