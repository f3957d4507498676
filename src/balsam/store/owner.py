"""On whose behalf a statement runs, and the conditions that keep it to that."""

from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

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


def checked(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column as one that is compared but never searched by: SQL's unary plus, on both engines.

    Every statement names the owner. Where ids, tags or a session already choose a few rows, a planner
    without statistics may still go through the index of everything that the owner has.
    """
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)
