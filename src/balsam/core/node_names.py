"""Names of nodes where there is little room: short, and still different from each other."""

from __future__ import annotations

from collections.abc import Sequence


def short_names(names: Sequence[str], width: int) -> list[str]:
    """The names without their domains, where that leaves them different; each of `width` characters at most.

    What is longer loses its middle: nodes of a machine begin, and their domains end, alike.
    """
    hosts = [name if _is_number(name) else name.partition(".")[0] for name in names]
    chosen = hosts if len(set(hosts)) == len(set(names)) else names
    return [_cut(name, width) for name in chosen]


def _is_number(name: str) -> bool:
    """Whether a name is an address, of which no part says anything by itself."""
    return name.replace(".", "").isdigit()


def _cut(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    end = width // 2
    return f"{name[: width - end - 1]}…{name[len(name) - end :]}"
