"""Names of what a call was given: errors for those that do not exist, and those of values without names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any


def reject_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raises TypeError for the first of `given` that is not known: `what has no 'x'; did you mean 'y'?`"""
    for name in given:
        if name not in known:
            raise TypeError(unknown(what, name, known))


def in_places(
    what: str, names: Sequence[str], values: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Values that were given without names, by the names of their places.

    Raises TypeError for more values than places, and for a place whose name was given, too.
    """
    if len(values) > len(names):
        raise TypeError(f"{what} takes at most {len(names)} values without names here")
    placed = dict(zip(names, values, strict=False))
    for name in placed.keys() & named.keys():
        raise TypeError(f"{what} got {name!r} twice")
    return placed


def is_near(name: str, known: Collection[str]) -> bool:
    """Whether the name is most likely meant to be one of the known ones."""
    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.75))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """A sentence that names the nearest known names, or all of them when none is near."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"{what} has no {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"{what} has no {name!r}; it has: {', '.join(sorted(known)) or 'none'}"
