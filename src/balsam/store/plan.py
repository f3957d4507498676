"""Words to the query planner."""

from typing import TypeVar

from sqlalchemy import ColumnElement
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

T = TypeVar("T")


def checked(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column as one that is compared but never searched by: SQL's unary plus, on both engines.

    Every statement names the owner. Where ids, tags or a session already choose a few rows, a planner
    without statistics may still go through the index of everything that the owner has.
    """
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)
