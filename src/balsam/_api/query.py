"""Queries."""

from balsam.sdk.query import Query

__all__ = ["Query"]
