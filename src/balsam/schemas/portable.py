"""Pickles that open where users' programs run, the published release included.

Public classes are named by the modules from which users import them: those are the same in every release,
and the modules in which the classes are defined are not.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import cloudpickle

_HOMES = {
    "balsam.core.": "balsam.schemas",
    "balsam.schemas.": "balsam.schemas",
    "balsam.sdk.": "balsam.api",
}


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, but for the names of Balsam's own classes."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and (home := public_home(obj)):
            return getattr, (_Module(home), obj.__name__)
        return super().reducer_override(obj)


class _Module:
    """Is written as the module itself, in words that need nothing but Python to be read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self._name,)


def dumps(obj: Any, kind: type[Pickler] = Pickler) -> bytes:
    """The object pickled, its classes and functions by value where the reader can't import them."""
    stream = io.BytesIO()
    kind(stream).dump(obj)
    return stream.getvalue()


def public_home(cls: type) -> str | None:
    """The module from which users import a class of Balsam's, or None."""
    for prefix, home in _HOMES.items():
        if cls.__module__.startswith(prefix):
            return home if getattr(importlib.import_module(home), cls.__name__, None) is cls else None
    return None
