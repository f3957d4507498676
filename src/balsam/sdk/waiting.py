"""Waiting for jobs to end: told by the server's stream, with slow polling as the safety net."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from balsam.client.errors import ServerFault, ServerUnreachable
from balsam.core.states import DONE_STATES, JobState
from balsam.sdk import never_starting
from balsam.sdk.model import DoesNotExist
from balsam.sdk.never_starting import NeverStarts
from balsam.sdk.query import IDS_PER_REQUEST, cut

if TYPE_CHECKING:
    from balsam.client.feed import Hint, Subscription
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

log = logging.getLogger(__name__)

LOOK_SEC = 30.0  # how long a look asks a server that is away, before the next one does
JUDGE_SEC = 1.0  # between two questions whether what is waited for can ever start
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
        _look([job for job in given if job.is_saved], deadline)  # it ends at once, with all that have ended
    try:
        for batch in ended(given, timeout, poll_interval, patient=timeout is not None):
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


def ended(
    jobs: list[Job], timeout: float | None, poll_interval: float = 1.0, *, patient: bool = False
) -> Iterator[list[Job]]:
    """Jobs in batches as they end, each refreshed; TimeoutError while some have not ended.

    Raises NeverStarts once all that are left wait for jobs that FAILED or were deleted; `patient`: only warns
    of them, for their owner may mend that before the time is over.
    """
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
    judge = _Judge(patient)
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
            judge.look(pending)
            hints.minds_failures = judge.minds(pending)
            if pending and not has_looked and _left(deadline) <= 0:
                hint = None  # however short the time was: what is told at its end is how things are
            elif pending:
                is_soon = judge.is_due and hints.minds_failures
                period = JUDGE_SEC if is_soon else _period(hints, clients, poll_interval)
                hint = _next_hint(hints, deadline, period, pending)
                # None of these has ended: another job FAILED, or it is time to look at all.
                judge.is_due = judge.is_due or not hint
                if is_soon:
                    hint = hint or frozenset()  # the next judgement was waited for, not the next look


class _Judge:
    """Sees to it that nobody waits for ever for jobs which can never start.

    `is_due`: since it was asked something has happened that may decide it.
    """

    def __init__(self, patient: bool) -> None:
        self.is_due = True
        self._patient = patient
        self._asked_at = -math.inf

    def minds(self, pending: list[Job]) -> bool:
        """Whether all of them wait for parents, so that it matters when another job FAILED."""
        return all(job.state is JobState.awaiting_parents for job in pending)

    def look(self, pending: list[Job]) -> None:
        """Raises NeverStarts, or warns once, if none of the jobs can ever start."""
        if not pending or not self.minds(pending):
            self.is_due = True
            return
        if not self.is_due or time.monotonic() < self._asked_at + JUDGE_SEC:
            return
        self._asked_at = time.monotonic()
        self.is_due = False
        try:
            blocked = never_starting.if_none_starts(pending)
        except (ServerUnreachable, ServerFault) as exc:
            log.warning("%s: %s", _waits_for(pending), exc)
            return
        if blocked and self._patient:
            self._asked_at = math.inf
            log.warning("%s: %s", _waits_for(pending), never_starting.sentence(blocked))
        elif blocked:
            raise NeverStarts(blocked)


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
        log.warning("%s: %s", _waits_for(jobs), exc)


def _waits_for(jobs: list[Job]) -> str:
    return f"still waiting for {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"


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
        more = f" and {len(pending) - 5} more" if pending[5:] else ""
        have = "1 job has" if len(pending) == 1 else f"{len(pending)} jobs have"
        raise TimeoutError(f"{have} not ended: {shown}{more}")
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
