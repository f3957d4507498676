"""Pickles app classes so that a site of any release makes them again, with or without cloudpickle there."""

from __future__ import annotations

import ast
import inspect
import operator
import zlib
from functools import cache
from typing import Any

from cloudpickle import cloudpickle

from balsam.schemas import AppParameter
from balsam.schemas.portable import Pickler
from balsam.sdk.application import ApplicationDefinition

# Run by the reader, before the class is made: sites of the published release came without cloudpickle.
PREPARE = """
try:
    import cloudpickle
except ImportError:
    import sys, types, zlib
    package, module = types.ModuleType("cloudpickle"), types.ModuleType("cloudpickle.cloudpickle")
    package.__path__, package.cloudpickle = [], module
    exec(zlib.decompress(source), module.__dict__)
    sys.modules.update({"cloudpickle": package, "cloudpickle.cloudpickle": module})
"""
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


class Prepared:
    """A class behind the step that lets its reader do without cloudpickle; opens as the class."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.itemgetter(1), ((_Preparation(), self._cls),)


class _Preparation:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (PREPARE, {"source": _cloudpickle_source()})


@cache
def _cloudpickle_source() -> bytes:
    text = ast.unparse(ast.parse(inspect.getsource(cloudpickle)))  # without its comments
    return zlib.compress(text.encode(), 9)


def _is_app(obj: Any) -> bool:
    return type(obj) is type and issubclass(obj, ApplicationDefinition) and obj is not ApplicationDefinition
