"""Waiting for jobs to end: told by the server's stream, with slow polling as the safety net."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from balsam.client.errors import ServerFault, ServerUnreachable
from balsam.core.states import DONE_STATES, JobState
from balsam.sdk.model import DoesNotExist
from balsam.sdk.query import IDS_PER_REQUEST, cut

if TYPE_CHECKING:
    from balsam.client.feed import Hint, Subscription
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

log = logging.getLogger(__name__)

LOOK_SEC = 30.0  # how long a look asks a server that is away, before the next one does
POLLS_SPARED_BY_STREAM = 10  # while the stream is connected, polling is so many times rarer
RETURN_WHEN = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")


class WaitResult(NamedTuple):
    """Jobs that have ended and jobs that have not, each in the order given."""

    done: list[Job]
    not_done: list[Job]


def wait(
    jobs: Iterable[Job],
    timeout: float | None = None,
    poll_interval: float = 1.0,
    return_when: str = "ALL_COMPLETED",
) -> WaitResult:
    """See `Job.objects.wait`."""
    if return_when not in RETURN_WHEN:
        raise ValueError(f"return_when is {return_when!r}; it must be one of {', '.join(RETURN_WHEN)}")
    given = list(jobs)
    _must_be_jobs(given)
    if return_when != "ALL_COMPLETED" and any(job.state in DONE_STATES for job in given):
        deadline = None if timeout is None else time.monotonic() + timeout
        _look(
            [job for job in given if job.is_saved], deadline
        )  # it returns at once, with all that have ended
    try:
        for batch in ended(given, timeout, poll_interval):
            if return_when == "FIRST_COMPLETED":
                break
            if return_when == "FIRST_EXCEPTION" and any(job.state is JobState.failed for job in batch):
                break
    except TimeoutError:
        pass
    done = [job for job in given if job.state in DONE_STATES]
    return WaitResult(done, [job for job in given if job.state not in DONE_STATES])


def as_completed(
    jobs: Iterable[Job], timeout: float | None = None, poll_interval: float = 1.0
) -> Iterator[Job]:
    """See `Job.objects.as_completed`."""
    for batch in ended(list(jobs), timeout, poll_interval):
        yield from batch


def ended(jobs: list[Job], timeout: float | None, poll_interval: float = 1.0) -> Iterator[list[Job]]:
    """Jobs in batches as they end, each refreshed; TimeoutError while some have not ended."""
    _must_be_saved(jobs)
    over = [job for job in jobs if job.state in DONE_STATES]
    if over:
        yield over
    pending = [job for job in jobs if job.state not in DONE_STATES]
    if not pending:
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    clients = {job.client().key: job.client() for job in pending}
    client = pending[0].client()
    with client.feed().subscribe(job.id for job in pending) as hints:
        hints.wait_until_live(_left(deadline))
        # Jobs that were made while the stream was up have been heard of by now, if they have ended.
        known = len(clients) == 1 and all(hints.covers(job._known_at) for job in pending)
        hint: Hint = frozenset() if known else None
        has_looked = False
        while pending:
            has_looked = has_looked or hint is None
            _look([job for job in pending if hint is None or job.id in hint], deadline)
            batch = [job for job in pending if job.state in DONE_STATES]
            pending = [job for job in pending if job.state not in DONE_STATES]
            if batch:
                yield batch
            if pending and not has_looked and _left(deadline) <= 0:
                hint = None  # however short the time was: what is told at its end is how things are
            elif pending:
                hint = _next_hint(hints, deadline, _period(hints, clients, poll_interval), pending)


def refresh(jobs: list[Job], patience_sec: float | None = None) -> None:
    """Loads jobs anew, each through its own client; raises DoesNotExist for those that are gone.

    `patience_sec`: how long a server that is away is asked again, if not as long as its client does.
    """
    for client in {job.client().key: job.client() for job in jobs}.values():
        for part in cut([job for job in jobs if job.client().key == client.key], IDS_PER_REQUEST):
            _refresh_part(client, part, patience_sec)


def _look(jobs: list[Job], deadline: float | None) -> None:
    """`refresh`, but a server that is down for a while does not end the wait, nor prolong it."""
    try:
        refresh(jobs, min(LOOK_SEC, max(0.0, _left(deadline))))
    except (ServerUnreachable, ServerFault) as exc:
        log.warning("still waiting for %d jobs: %s", len(jobs), exc)


def _refresh_part(client: Client, jobs: list[Job], patience_sec: float | None) -> None:
    ids = list({job.id for job in jobs})
    query = {"id": ids, "count": "no", "limit": len(ids)}
    found = client.request("GET", "/jobs/", params=query, patience_sec=patience_sec).body["results"]
    rows = {row["id"]: row for row in found}
    gone = [number for number in ids if number not in rows]
    if gone:
        raise DoesNotExist(f"these jobs do not exist (any more): {', '.join(map(str, sorted(gone)))}")
    for job in jobs:
        job._load(rows[job.id])


def _next_hint(
    hints: Subscription, deadline: float | None, period: float, pending: list[Job]
) -> frozenset[int] | None:
    left = _left(deadline)
    if left <= 0:
        shown = ", ".join(f"{job.id} ({job.state.value})" for job in pending[:5])
        raise TimeoutError(f"{len(pending)} jobs have not ended: {shown}{', ...' if pending[5:] else ''}")
    return hints.next_hint(min(left, period))


def _period(hints: Subscription, clients: dict[str, Client], poll_interval: float) -> float:
    told = hints.is_live and len(clients) == 1
    return poll_interval * POLLS_SPARED_BY_STREAM if told else poll_interval


def _left(deadline: float | None) -> float:
    return float("inf") if deadline is None else deadline - time.monotonic()


def _must_be_jobs(jobs: Iterable[object]) -> None:
    for job in jobs:
        if not hasattr(job, "is_saved"):
            raise TypeError(
                f"{job!r} is no job: wait for jobs, such as Job.objects.filter(id=[...]), not for their ids"
            )


def _must_be_saved(jobs: list[Job]) -> None:
    _must_be_jobs(jobs)
    for job in jobs:
        if not job.is_saved:
            raise DoesNotExist(f"the job in {job.workdir} was never saved: there is nothing to wait for")
