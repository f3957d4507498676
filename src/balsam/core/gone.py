"""Names of release 0.7 that have no counterpart: who asks for one is told what to write instead."""

from collections.abc import Callable, Collection
from typing import NoReturn


def of_module(module: str, names: Collection[str], remedy: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module that had these names; `remedy`: a sentence."""

    def absent(name: str) -> NoReturn:
        if name in names:
            raise AttributeError(f"{module}.{name} was of Balsam 0.7 and is no more: {remedy}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return absent
