"""Lists that hold at most so many: where nobody said how many, it is said that there are more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
EXPLAINED = 100  # jobs or allocations of which `why()` tells where nobody says of how many
log = logging.getLogger(__name__)


def bounded(ask: Callable[[int], list[T]], limit: int | None, default: int, told: str) -> list[T]:
    """What `ask` answers of at most `limit`; without one of `default`, with a warning if there are more.

    `told`: whose list it is, and how to learn of the rest.
    """
    if limit is not None:
        return ask(limit)
    found = ask(default + 1)
    if len(found) > default:
        log.warning("these are the first %s only; %s", f"{default:,}", told)
    return found[:default]
