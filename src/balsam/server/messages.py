"""Messages over HTTP: users kill, tail and drain; launchers and agents answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from balsam.core.errors import Invalid, NotFound, Refused, TooLarge
from balsam.core.limits import MAX_ANSWER_BYTES, MAX_ID, MAX_ITEMS_PER_BULK_OP, MAX_TAIL_BYTES, TAIL_SEC
from balsam.core.states import JobState
from balsam.logic import kills, messages, retries
from balsam.logic.kills import Fate
from balsam.logic.messages import Asked
from balsam.logic.once import once
from balsam.schemas.messages import (
    DrainOut,
    KillOut,
    KillsOut,
    MessageAnswer,
    MessageOut,
    RetriesOut,
    TailOut,
)
from balsam.schemas.types import Id, Wire
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Server, Srv, bearer
from balsam.server.queries import JobParts, PartOfJobs
from balsam.server.query_strings import documented
from balsam.server.waiting import Waiting
from balsam.store import jobs as job_store
from balsam.store import kills as kill_store
from balsam.store import messages as store
from balsam.store import sessions as session_store
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner

router = APIRouter(tags=["messages"])
JobId = Annotated[int, Path(ge=0, le=MAX_ID)]
SessionId = Annotated[int, Path(ge=0, le=MAX_ID)]
MessageId = Annotated[int, Path(ge=0, le=MAX_ID)]
BatchJobId = Annotated[int, Path(ge=0, le=MAX_ID)]
DEFAULT_LINES = 10
MARGIN_SEC = 0.5  # an answer in the last moment still has to travel


class TailQuery(Wire):
    """The last `lines`, or what comes behind `after` bytes. `follow`: waits a while for more.

    `attempt`: of which run, 1 for the first; left out: the last one.
    """

    lines: int | None = Field(default=None, ge=0, le=100_000)
    after: Id | None = None
    follow: bool = False
    attempt: int | None = Field(default=None, ge=1, le=1_000_000)


@router.post("/jobs/kill", responses={200: {"model": KillsOut}}, openapi_extra=documented(JobParts))
def kill_jobs(server: Srv, caller: Caller, key: OnceKey, choice: PartOfJobs) -> Response:
    """Kills the jobs that the filters choose, 5,000 in one call: `next` is the `after` of the next one."""
    chosen = choice.target(strict=True)

    def kill() -> dict[str, Any]:
        ids = kill_store.lock_some(tx.conn, caller, chosen, choice.after, MAX_ITEMS_PER_BULK_OP)
        killed = kills.kill(tx, caller, ids)
        following = ids[-1] if len(ids) == MAX_ITEMS_PER_BULK_OP else None
        return {**killed.counts(), "pending": killed.ids(Fate.told, Fate.noted), "next": following}

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, kill)
    return answers.json_answer(answer)


@router.post("/jobs/retry", responses={200: {"model": RetriesOut}}, openapi_extra=documented(JobParts))
def retry_jobs(server: Srv, caller: Caller, key: OnceKey, choice: PartOfJobs) -> Response:
    """Sends those of the chosen jobs on that are FAILED, 5,000 in one call: `next` as for killing."""
    chosen = failed_of(choice.target(strict=True))

    def again() -> dict[str, Any]:
        ids = kill_store.lock_some(tx.conn, caller, chosen, choice.after, MAX_ITEMS_PER_BULK_OP)
        retried, refused = retries.retry(tx, caller, ids)
        following = ids[-1] if len(ids) == MAX_ITEMS_PER_BULK_OP else None
        return {"retried": retried, "refused": [one[1:] for one in refused], "next": following}

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, again)
    return answers.json_answer(answer)


def failed_of(chosen: JobFilter) -> JobFilter:
    """Those of the jobs that are FAILED."""
    states = {JobState.failed} if chosen.state is None else {JobState.failed} & set(chosen.state)
    return replace(chosen, state=sorted(states))


@router.post("/jobs/{job_id}/kill", responses={200: {"model": KillOut}})
def kill_job(server: Srv, caller: Caller, key: OnceKey, job_id: JobId) -> Response:
    """Kills one job; says what became of it."""

    def kill() -> dict[str, Any]:
        killed = kills.kill(tx, caller, [job_id])
        outcomes = [one.value for one, rows in killed.rows.items() if rows]
        if not outcomes:
            raise NotFound("Not found")
        return {"job_id": job_id, "outcome": outcomes[0], "sentence": kills.sentence(killed, job_id)}

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, kill)
    return answers.json_answer(answer)


@router.get("/jobs/{job_id}/tail", responses={200: {"model": TailOut}})
async def tail_job(
    request: Request, server: Srv, caller: Caller, job_id: JobId, query: Annotated[TailQuery, Query()]
) -> Response:
    """A piece of the job's output, from whoever runs it or, if nobody does, from its site's agent."""
    return await tail(server, caller, bearer(request), job_id, query)


async def tail(server: Server, caller: Owner, token: str, job_id: int, query: TailQuery) -> Response:
    """Asks for a piece of a job's output and waits for it, for as long as the token is valid."""
    if query.lines is not None and query.after is not None:
        raise Invalid("give lines or after, not both")
    lines = DEFAULT_LINES if query.lines is None and query.after is None else query.lines

    def ask() -> Asked:
        with server.db.write() as tx:
            return messages.ask_tail(
                tx, caller, job_id, lines, query.after, follow=query.follow, attempt=query.attempt
            )

    with Waiting(server.watchers, caller, token) as waiting:
        asked = await run_in_threadpool(ask)
        await _until_answered(server, caller, waiting, [asked.message_id])
        return await run_in_threadpool(_tailed, server, caller, job_id, asked)


def _tailed(server: Server, caller: Owner, job_id: int, asked: Asked) -> Response:
    """What came back; the message is gone then, since output would soon be most of the database."""
    with server.db.write() as tx:
        found = store.get_many(tx.conn, caller, [asked.message_id])
        store.drop(tx.conn, caller, asked.message_id)
        jobs = job_store.by_ids(tx.conn, caller, [job_id])
        session = session_store.get(tx.conn, caller, asked.session_id)
    if not jobs or session is None:
        raise NotFound("Not found")
    if not found or found[0]["answered"] is None:
        raise Refused(f"the output of job {job_id} could not be read: {messages.silence(session)}")
    told = found[0]["answer"]
    if "error" in told:
        raise Refused(f"the output of job {job_id} could not be read: {told['error']}")
    piece = {
        "text": str(told.get("text", ""))[:MAX_TAIL_BYTES],
        "offset": told.get("offset", 0),
        "size": told.get("size", 0),
        "path": told.get("path", ""),
    }
    return answers.json_answer({**piece, "state": jobs[0]["state"], "num_runs": jobs[0]["num_runs"]})


@router.post("/batch-jobs/{batch_job_id}/drain", responses={200: {"model": DrainOut}})
async def drain_batch_job(
    request: Request, server: Srv, caller: Caller, key: OnceKey, batch_job_id: BatchJobId
) -> Response:
    """Its launchers start nothing more, give back what they have not started, and end after their runs."""

    def tell() -> list[int]:
        with server.db.write() as tx:
            ids: list[int] = once(tx, caller, key, lambda: messages.drain(tx, caller, batch_job_id))[0]
            return ids

    with Waiting(server.watchers, caller, bearer(request)) as waiting:
        ids = await run_in_threadpool(tell)
        await _until_answered(server, caller, waiting, ids)
        return await run_in_threadpool(_drained, server, caller, ids)


def _drained(server: Server, caller: Owner, ids: Collection[int]) -> Response:
    with server.db.read() as conn:
        found = store.get_many(conn, caller, ids)
        open_ones = {row["session_id"] for row in found if row["answered"] is None}
        silent = [messages.silence(row) for row in session_store.get_many(conn, caller, open_ones)]
    return answers.json_answer({"launchers": len(ids), "silent": silent})


async def _until_answered(server: Server, caller: Owner, waiting: Waiting, ids: Collection[int]) -> None:
    """Returns when all are answered, or the time is over."""

    def answered() -> bool:
        with server.db.read() as conn:
            return all(row["answered"] is not None for row in store.get_many(conn, caller, ids))

    deadline = time.monotonic() + TAIL_SEC + MARGIN_SEC
    while await waiting.for_change("answers", deadline):
        if server.watchers.closing:
            raise HTTPException(503, "this server process ends: ask again", {"retry-after": "1"})
        if await run_in_threadpool(answered):
            return


@router.get("/sessions/{session_id}/messages", responses={200: {"model": list[MessageOut]}})
def open_messages(server: Srv, caller: Caller, session_id: SessionId) -> Response:
    """What the session has not answered: what its stream brings, for those whom no stream reaches."""
    return answers.json_answer(open_for(server, caller)(session_id))


def open_for(server: Server, caller: Owner) -> Callable[[int], list[dict[str, Any]]]:
    """Reads a session's open messages, as they travel."""

    def read(session_id: int) -> list[dict[str, Any]]:
        with server.db.read() as conn:
            return [answers.message(row) for row in messages.open_of(conn, caller, session_id)]

    return read


@router.put("/sessions/{session_id}/messages/{message_id}", status_code=204)
def answer_message(
    server: Srv, caller: Caller, session_id: SessionId, message_id: MessageId, body: MessageAnswer
) -> Response:
    """The session's answer; one that comes again changes nothing."""
    if len(orjson.dumps(body.answer)) > MAX_ANSWER_BYTES:
        raise TooLarge(f"an answer may have {MAX_ANSWER_BYTES} bytes")
    with server.db.write() as tx:
        messages.answer(tx, caller, session_id, message_id, body.answer)
    return answers.no_content()
