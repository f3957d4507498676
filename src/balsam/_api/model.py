"""What all models have in common."""

from balsam.sdk.model import Model as BalsamModel

__all__ = ["BalsamModel"]
