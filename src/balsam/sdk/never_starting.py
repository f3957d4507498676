"""Jobs that can never start since a job that they wait for FAILED or was deleted: who they are, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from balsam.schemas.jobs import NeverStartingOut
from balsam.sdk.query import IDS_PER_REQUEST, cut
from balsam.sdk.results import NoResult

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

ROOTS_NAMED, JOBS_NAMED = 5, 5


class NeverStarts(NoResult):
    """Jobs that can never start as things are: a parent FAILED or was deleted, or one of its parents did.

    `blocked`: for each of them the chain of jobs to the root cause, and why that one FAILED.
    """

    def __init__(self, blocked: Sequence[NeverStartingOut]) -> None:
        super().__init__(sentence(blocked))
        self.blocked = list(blocked)

    def __reduce__(self) -> tuple[type[NeverStarts], tuple[list[NeverStartingOut]]]:
        return NeverStarts, (self.blocked,)


def among(client: Client, job_ids: Iterable[int]) -> list[NeverStartingOut]:
    """Those of the jobs that can never start, as the server knows it now."""
    return [
        NeverStartingOut(**row)
        for ids in cut(list(job_ids), IDS_PER_REQUEST)
        for row in client.get("/jobs/never-starting", {"id": ids, "limit": len(ids)})
    ]


def sentence(blocked: Sequence[NeverStartingOut]) -> str:
    """Who can never start and for which root cause; the largest groups first, and how many are left out."""
    by_root: dict[int, list[NeverStartingOut]] = defaultdict(list)
    for one in blocked:
        by_root[one.chain[-1]].append(one)
    ordered = sorted(by_root.values(), key=lambda group: (-len(group), group[0].chain[-1]))
    told = [_of_root(group) for group in ordered[:ROOTS_NAMED]]
    left_out = len(ordered) - len(told)
    if left_out:
        told.append(f"and {left_out} more such roots: `balsam job why` counts jobs by reason")
    return "; ".join(told)


def _of_root(group: Sequence[NeverStartingOut]) -> str:
    first = group[0]
    root = first.chain[-1]
    if first.root_state is None:
        return f"{_named(group)} can never start, since job {root}, for which {_waits(group)}, was deleted"
    reason = f": {first.reason}" if first.reason else ""
    return (
        f"{_named(group)} can never start, since job {root}, for which {_waits(group)}, FAILED{reason} "
        f"(`balsam job retry {root}` lets them go on)"
    )


def _waits(group: Sequence[NeverStartingOut]) -> str:
    return "it waits" if len(group) == 1 else "they wait"


def _named(group: Sequence[NeverStartingOut]) -> str:
    ids = [str(one.job_id) for one in group]
    if len(ids) == 1:
        return f"job {ids[0]}"
    if len(ids) <= JOBS_NAMED:
        return f"jobs {', '.join(ids[:-1])} and {ids[-1]}"
    return f"jobs {', '.join(ids[:JOBS_NAMED])} and {len(ids) - JOBS_NAMED} more"


def if_none_starts(jobs: Sequence[Job]) -> list[NeverStartingOut]:
    """What keeps each of them if none of these jobs can ever start; nothing while one can."""
    found: list[NeverStartingOut] = []
    for client in {job.client().key: job.client() for job in jobs}.values():
        ids = {job.id for job in jobs if job.client().key == client.key}
        blocked = among(client, sorted(ids))
        if {one.job_id for one in blocked} != ids:
            return []
        found += blocked
    return found
