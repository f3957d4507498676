"""Whether the queues of a site take an allocation: one judge for SDK, server and agent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from balsam.core.plural import counted


class QueueLimits(Protocol):
    @property
    def max_nodes(self) -> int: ...
    @property
    def max_walltime(self) -> int: ...


class Part(Protocol):
    @property
    def num_nodes(self) -> int: ...


class Wanted(Protocol):
    """A BatchJob, by whichever class."""

    @property
    def num_nodes(self) -> int: ...
    @property
    def wall_time_min(self) -> int: ...
    @property
    def project(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def optional_params(self) -> Mapping[str, str]: ...
    @property
    def partitions(self) -> Sequence[Part] | None: ...


def refusal(
    want: Wanted,
    queues: Mapping[str, QueueLimits],
    projects: Collection[str],
    optional_params: Collection[str],
) -> str | None:
    """Why the site can't submit it, as a sentence that says what there is; None if it can."""
    queue = queues.get(want.queue)
    if queue is None:
        return f"this site has no queue {want.queue!r}; it has {_names(queues)}"
    if want.project not in projects:
        return f"this site has no project {want.project!r}; it has {_names(projects)}"
    if want.num_nodes > queue.max_nodes:
        are = "is" if want.num_nodes == 1 else "are"
        asked = counted(want.num_nodes, "node")
        return f"{asked} {are} more than queue {want.queue} takes: {queue.max_nodes}"
    if want.wall_time_min > queue.max_walltime:
        return f"{want.wall_time_min} minutes are more than queue {want.queue} takes: {queue.max_walltime}"
    unknown = sorted(set(want.optional_params) - set(optional_params))
    if unknown:
        known = _names(optional_params)
        return f"this site has no optional parameter {', '.join(unknown)}; it has {known}"
    return wrong_partitions(want)


def wrong_partitions(want: Wanted) -> str | None:
    """Partitions share all nodes of their allocation among them."""
    total = sum(part.num_nodes for part in want.partitions or ())
    if want.partitions and total != want.num_nodes:
        return f"the partitions have {counted(total, 'node')} together, and num_nodes is {want.num_nodes}"
    return None


def _names(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"
