"""Errors for names that do not exist, with the nearest ones that do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def reject_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raises TypeError for the first of `given` that is not known: `what has no 'x'; did you mean 'y'?`"""
    for name in given:
        if name not in known:
            raise TypeError(unknown(what, name, known))


def is_near(name: str, known: Collection[str]) -> bool:
    """Whether the name is most likely meant to be one of the known ones."""
    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.75))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """A sentence that names the nearest known names, or all of them when none is near."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"{what} has no {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"{what} has no {name!r}; it has: {', '.join(sorted(known)) or 'none'}"
