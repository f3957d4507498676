"""What a function's code refers to by name, nested functions included."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

_GLOBAL = frozenset(
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
)


@dataclass(frozen=True, slots=True)
class Uses:
    """`names`: globals, attributes and what is imported. `imported`: modules that it imports by itself.

    A global's name among the attributes alone is no use of that global: `self.job` has nothing to do with a
    variable `job` of the script.
    """

    names: set[str] = field(default_factory=set)
    global_names: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)


def uses_of(code: CodeType, package: str = "") -> Uses:
    """`package`: of the module that defines the code, for imports that are relative to it."""
    found = Uses()
    for one in _codes(code):
        found.names.update(one.co_names)
        before: list[object] = []
        for step in dis.get_instructions(one):
            if step.opname in _GLOBAL:
                found.global_names.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                found.imported.add(_absolute(step.argval, before[-2] if len(before) > 1 else 0, package))
            before = [*before[-1:], step.argval]
    return found


def _absolute(name: str, level: object, package: str) -> str:
    """The module's whole name; `level`: the dots before it."""
    if not isinstance(level, int) or level < 1:
        return name
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - level + 1], *([name] if name else [])])


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
