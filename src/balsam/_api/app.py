"""Apps."""

from balsam.sdk.application import ApplicationDefinition

__all__ = ["ApplicationDefinition"]
