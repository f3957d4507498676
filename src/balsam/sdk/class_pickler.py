"""Pickles app classes so that a site of any release makes them again, with or without cloudpickle there."""

from __future__ import annotations

from typing import Any

from balsam.schemas import AppParameter
from balsam.schemas.portable import Pickler
from balsam.sdk.application import ApplicationDefinition

_MADE_BY_LIBRARY = {"__app_id__", "_client_key", "__dict__", "__weakref__"}


class ClassPickler(Pickler):
    """Makes an app's class in one step from its name, bases and attributes.

    The published release looks at the attributes when a class is made; cloudpickle's way sets them later.
    """

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented or not _is_app(obj):
            return reduced
        attributes = {k: v for k, v in vars(obj).items() if k not in _MADE_BY_LIBRARY}
        if declared := attributes.get("parameters"):  # there they have to be dicts
            attributes["parameters"] = {k: dict(AppParameter.model_validate(v)) for k, v in declared.items()}
        return type, (obj.__name__, obj.__bases__, attributes)


def _is_app(obj: Any) -> bool:
    return type(obj) is type and issubclass(obj, ApplicationDefinition) and obj is not ApplicationDefinition
