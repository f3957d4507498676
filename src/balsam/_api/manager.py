"""Managers: the `objects` of models."""

from balsam.sdk.query import Manager

__all__ = ["Manager"]
