"""What a job's user does from afar while it runs: kill it, read its output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from balsam.client.errors import SomeRefused
from balsam.core.states import DONE_STATES, RUN_END_STATES, JobState
from balsam.schemas.messages import KillOut, KillsOut, RetriesOut, TailOut
from balsam.sdk import waiting
from balsam.sdk.model import Model
from balsam.sdk.query import IDS_PER_REQUEST, Query, cut

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

KILL_SEC = 15.0  # a launcher gives a run 5 s between SIGTERM and SIGKILL
_BEFORE_RUN = (
    frozenset(JobState) - DONE_STATES - RUN_END_STATES - {JobState.postprocessed, JobState.staged_out}
)


class RemoteJob(Model):
    """A job, as far as it is run elsewhere."""

    state: JobState

    def kill(self, timeout: float = KILL_SEC) -> KillOut:
        """Ends the job for good: FAILED, without handle_error(), and never run again.

        One that waits fails at once. For one that runs, waits up to `timeout` seconds for its launcher to
        end it (SIGTERM, after 5 s SIGKILL); where that does not answer, `outcome` stays `told` or `noted`,
        the sentence says why, and the job fails when the launcher is back or its lease is over.
        """
        self._must_be_saved("kill")
        path = f"{self.ROUTE}{self.id}"
        answer = KillOut(**self.client().post(f"{path}/kill", None))
        if answer.outcome in ("told", "noted"):
            waiting.wait([cast("Job", self)], timeout)
        self.refresh_from_db()
        if answer.outcome in ("told", "noted"):
            if self.state in DONE_STATES:
                outcome = "killed" if self.state is JobState.failed else "ended"
                return KillOut(job_id=self.id, outcome=outcome, sentence=f"Job {self.id} is {self.state}.")
            answer.sentence = self.client().get(f"{path}/why")["sentence"]
        return answer

    def retry(self) -> None:
        """Runs the job once more, if it is FAILED: see `JobQuery.retry`; SomeRefused has the reason."""
        self._must_be_saved("retry")
        retry_matching(self.client(), [{"id": self.id}])
        self.refresh_from_db()

    @overload
    def tail(self, lines: int = ..., *, follow: Literal[False] = ..., attempt: int | None = ...) -> str: ...
    @overload
    def tail(
        self, lines: int = ..., *, follow: Literal[True], attempt: int | None = ...
    ) -> Iterator[str]: ...
    def tail(
        self, lines: int = 10, *, follow: bool = False, attempt: int | None = None
    ) -> str | Iterator[str]:
        """The last lines of the job's output, wherever it runs or ran; at most 64 kB.

        `attempt`: of which run, 1 for the first; left out: the last one.
        `follow`: an iterator over those and all that is written from then on, until the run ends (of a job
        that waits: its next run). What is no UTF-8, and NUL, comes as U+FFFD; control characters come as
        they are. Raises ServerRefused where neither launcher nor agent can answer.
        """
        self._must_be_saved("read the output of")
        if follow:
            return self._following(lines, attempt)
        return self._piece(lines=lines, attempt=attempt).text

    def _piece(self, **query: Any) -> TailOut:
        return TailOut(**self.client().get(f"{self.ROUTE}{self.id}/tail", query))

    def _following(self, lines: int, attempt: int | None) -> Iterator[str]:
        piece = self._piece(lines=lines, attempt=attempt)
        waits = attempt is None and piece.state in _BEFORE_RUN and piece.state != JobState.running
        run = Followed(attempt or piece.num_runs + waits)
        if waits:  # what is there is an earlier run's; the next one begins a file of its own
            yield from [piece.text] * bool(piece.text)
            piece = piece.model_copy(update={"text": "", "offset": 0})
        is_over = False
        while piece.text or not is_over:
            if piece.text:
                yield piece.text
            is_over = run.is_over(piece.state, piece.num_runs)
            # Once more when it is over: for what was written between this piece and the end.
            piece = self._piece(after=piece.offset, follow=not is_over, attempt=run.number or None)


@dataclass(frozen=True, slots=True)
class Followed:
    """The run of a job whose output is followed, by its number."""

    number: int

    def is_over(self, state: str, num_runs: int) -> bool:
        """Whether it has ended, as `state` and `num_runs` of its job tell."""
        if state in DONE_STATES or num_runs > self.number:
            return True
        return state not in _BEFORE_RUN or (num_runs == self.number and state != JobState.running)


def kill_matching(query: Query[Job], requests: list[dict[str, Any]], timeout: float) -> KillsOut:
    """Kills what each of the requests' filters chooses and waits; see `JobQuery.kill`."""
    total = KillsOut()
    for filters in requests:
        _kill_all(query.client(), filters, total)
    fresh = query.unfiltered()
    jobs = [job for ids in cut(total.pending, IDS_PER_REQUEST) for job in fresh.narrowed({"id": ids})]
    total.pending = [job.id for job in waiting.wait(jobs, timeout).not_done]
    return total


def retry_matching(client: Client, requests: list[dict[str, Any]]) -> int:
    """Retries what each of the requests' filters chooses; see `JobQuery.retry`."""
    retried, refused = 0, list[tuple[int, str]]()
    for filters in requests:
        part = RetriesOut(next=0)
        while part.next is not None:
            part = RetriesOut(**client.post("/jobs/retry", None, params={**filters, "after": part.next}))
            retried += part.retried
            refused += part.refused
    if refused:
        raise SomeRefused(retried, len(refused), refused)
    return retried


def _kill_all(client: Client, filters: dict[str, Any], total: KillsOut) -> None:
    after: int | None = None
    while True:
        part = KillsOut(**client.post("/jobs/kill", None, params={**filters, "after": after}))
        for name in ("killed", "told", "noted", "ended"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.pending += part.pending
        after = part.next
        if after is None:
            return
