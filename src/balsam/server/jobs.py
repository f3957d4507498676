"""Jobs over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import WrapValidator

from balsam.core.errors import Invalid, NotFound, Refused, TooLarge
from balsam.core.limits import MAX_BULK_ITEMS_ACCEPTED, MAX_EXPLAINED, MAX_ID
from balsam.core.states import JobState
from balsam.logic import advance, jobs
from balsam.logic.ancestors import lost
from balsam.logic.once import once
from balsam.logic.why import why
from balsam.logic.why_counts import why_counts
from balsam.schemas.jobs import (
    JobBulkUpdate,
    JobCreate,
    JobOut,
    JobsPatched,
    JobUpdate,
    NeverStartingOut,
    PaginatedJobsOut,
    RanVersionOut,
    WhyCountOut,
    WhyOut,
)
from balsam.server import answers, columnar, items
from balsam.server.bodies import BulkRoute
from balsam.server.context import Caller, Lenient, Minimal, OnceKey, Representation, Server, Srv, Strict
from balsam.server.queries import JobChoice, JobQuery, Jobs, JobSelection, JobsToChange, JobTarget
from balsam.server.query_strings import documented
from balsam.store import jobs as job_store
from balsam.store import runs
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page, next_cursor

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BulkRoute)
JobId = Annotated[int, Path(ge=0, le=MAX_ID)]
SessionId = Annotated[int | None, Query(ge=0, le=MAX_ID)]
MAX_FOLLOWED = 10_000
# May be a Rejected.
JobItem = Annotated[JobBulkUpdate, WrapValidator(items.or_rejected)]


@router.get("/", responses={200: {"model": PaginatedJobsOut}}, openapi_extra=documented(JobQuery))
def list_jobs(server: Srv, caller: Caller, query: Jobs) -> Response:
    page = query.page(query.ordering)
    if query.columns is not None:
        return _columns(server, caller, query, query.columns, page)
    with query.look(server.db) as conn:
        rows = job_store.page(conn, caller, query.filter(), page)
        total = job_store.count(conn, caller, query.filter(), query.count_limit) if query.counted else None
    return answers.listing(rows, answers.job, total, next_cursor(rows, page), query.count_limit)


def _columns(server: Server, caller: Owner, query: JobQuery, names: list[str], page: Page) -> Response:
    read = columnar.reader(names, answers.JOB_COLUMNS, page)
    with query.look(server.db) as conn:
        found = job_store.page_by(read, conn, caller, query.filter(), page)
        total = job_store.count(conn, caller, query.filter(), query.count_limit) if query.counted else None
    return columnar.listing(found, answers.counted(total, query.count_limit), page)


@router.post("/", status_code=201, responses={201: {"model": list[JobOut]}})
def create_jobs(
    server: Srv, caller: Caller, key: OnceKey, strict: Strict, minimal: Minimal, body: list[JobCreate]
) -> Response:
    """Creates all of the jobs or none; answers them in the order of the request.

    With `Prefer: handling=strict` jobs that can't do what they are for are refused; else `why` tells. With
    `Prefer: return=minimal` the answer leaves out what was sent: see `answers.minimal_jobs`.
    """
    _check_size(body, "create")
    made: list[dict[str, Any]] = []

    def create() -> list[int]:
        made.extend(jobs.create(tx, caller, body, strict=strict))
        return [row["id"] for row in made]

    with server.db.write() as tx:
        ids, again = once(tx, caller, key, create)
        rows = job_store.by_ids(tx.conn, caller, ids) if again else made
    made_ = answers.minimal_jobs(rows, _DEFAULTS) if minimal else [answers.new_job(row) for row in rows]
    return answers.json_answer(made_, 201)


# What a job is of which nothing is said.
_DEFAULTS = answers.new_job(jobs.row(Owner(0), 0, JobCreate(workdir="-", app_id=0), 0, JobState.created, 0))


@router.patch("/", response_model=int | JobsPatched)
def change_jobs(
    server: Srv,
    caller: Caller,
    key: OnceKey,
    full: Representation,
    lenient: Lenient,
    body: list[JobItem],
    session_id: SessionId = None,
) -> Response:
    """Changes item by item; answers how many were applied, or 400 where none was.

    With `Prefer: handling=lenient` it never is 400 for that. The header `Balsam-Refused` names the others: a
    JSON list of [job id, reason], as many as a header takes. Where the request names a session, a job may
    occur several times: its items are applied in their order. With `Prefer: return=representation` the
    answer names all refused ones, by their places.
    """
    _check_size(body, "update")
    if session_id is None and len({item.id for item in body}) < len(body):
        raise Invalid("Duplicate Job ID keys provided")

    def act() -> Answer:
        places = [place for place, item in enumerate(body) if not isinstance(item, items.Rejected)]
        refused = advance.apply(tx, caller, [(body[n].id, body[n]) for n in places], session_id)
        told = [(places[n], job_id, reason) for n, job_id, reason in refused]
        told += [(n, one.id, one.reason) for n, one in enumerate(body) if isinstance(one, items.Rejected)]
        return _answer(len(body), told)

    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, act)
    # Of what a session says the fence refuses much that its holder has to know item by item.
    items.require_some(answer["applied"], answer["refused"], lenient=lenient or session_id is not None)
    return answers.json_answer(answer) if full else _applied(answer)


Answer = dict[str, Any]


def _answer(count: int, refused: Iterable[tuple[int, int, str]]) -> Answer:
    """Of so many updates these were refused: (place, job id, reason)."""
    told = sorted(refused)
    return {"applied": count - len(told), "refused": told}


def _applied(answer: Answer) -> Response:
    named = items.named([(job_id, reason) for _, job_id, reason in answer["refused"]])
    return answers.json_answer(answer["applied"], headers=items.header(named))


@router.put("/", response_model=int, openapi_extra=documented(JobTarget, but="session_id"))
def change_matching_jobs(
    server: Srv,
    caller: Caller,
    key: OnceKey,
    strict: Strict,
    choice: JobsToChange,
    body: JobUpdate,
    session_id: SessionId = None,
) -> Response:
    """The same change for every job that the filters choose.

    Without a filter these are all jobs of the caller, as published; with `Prefer: handling=strict` that has
    to be said by `all=yes`.
    """
    chosen = choice.target(strict=strict)
    with server.db.write() as tx:
        answer, _ = once(
            tx,
            caller,
            key,
            lambda: _answer(*jobs.change_matching(tx, caller, chosen, body, session_id)),
        )
    return _applied(answer)


@router.delete("/", status_code=204, openapi_extra=documented(JobTarget))
def delete_matching_jobs(server: Srv, caller: Caller, strict: Strict, choice: JobsToChange) -> Response:
    """All jobs of the caller without a filter: see `change_matching_jobs`."""
    chosen = choice.target(strict=strict)
    with server.db.write() as tx:
        jobs.remove_matching(tx, caller, chosen)
    return answers.no_content()


@router.get("/why", response_model=list[WhyOut], openapi_extra=documented(JobQuery))
def why_many(server: Srv, caller: Caller, query: Jobs) -> list[dict[str, Any]]:
    """Why each of the chosen jobs does not progress: of the first 1,000."""
    with server.db.read() as conn:
        page = replace(query.page(query.ordering), limit=min(query.limit, MAX_EXPLAINED))
        return why(conn, caller, job_store.page(conn, caller, query.filter(), page))


@router.get("/why/counts", response_model=list[WhyCountOut], openapi_extra=documented(JobSelection))
def count_reasons(server: Srv, caller: Caller, choice: JobChoice) -> list[dict[str, Any]]:
    """How many of the chosen jobs do not progress for which reason, with an example of each; all of them."""
    with server.db.read() as conn:
        return why_counts(conn, caller, choice.filter())


@router.get("/never-starting", response_model=list[NeverStartingOut], openapi_extra=documented(JobQuery))
def never_starting(server: Srv, caller: Caller, query: Jobs) -> list[dict[str, Any]]:
    """Those of the chosen jobs that wait for a parent which FAILED or was deleted, at any depth.

    Of the first 10,000 that wait for parents: `after` asks for those behind.
    """
    with server.db.read() as conn:
        page = replace(query.page(query.ordering), limit=min(query.limit, MAX_FOLLOWED))
        chosen = query.filter()
        if chosen.state is not None and JobState.awaiting_parents not in chosen.state:
            return []
        chosen = replace(chosen, state=[JobState.awaiting_parents])
        return lost(conn, caller, job_store.page(conn, caller, chosen, page))


@router.get("/versions", response_model=list[RanVersionOut], openapi_extra=documented(JobQuery))
def ran_versions(server: Srv, caller: Caller, query: Jobs) -> list[dict[str, Any]]:
    """Which version of its app the last run of each of the chosen jobs ran, where its launcher told."""
    with server.db.read() as conn:
        rows = job_store.page(conn, caller, query.filter(), query.page(query.ordering))
        found = runs.last_versions(conn, caller, [row["id"] for row in rows])
    return [{"job_id": job_id, "app_version": version} for job_id, version in found.items()]


@router.get("/{job_id}", responses={200: {"model": JobOut}})
def get_job(server: Srv, caller: Caller, job_id: JobId) -> Response:
    with server.db.glance() as conn:
        rows = job_store.by_ids(conn, caller, [job_id])
    if not rows:
        raise NotFound("Not found")
    return answers.json_answer(answers.job(rows[0]))


@router.get("/{job_id}/why", response_model=WhyOut)
def why_one(server: Srv, caller: Caller, job_id: JobId) -> dict[str, Any]:
    """One sentence and a code for what keeps the job."""
    with server.db.read() as conn:
        rows = job_store.by_ids(conn, caller, [job_id])
        if not rows:
            raise NotFound("Not found")
        return why(conn, caller, rows)[0]


@router.put("/{job_id}", response_model=int)
def change_job(
    server: Srv,
    caller: Caller,
    key: OnceKey,
    job_id: JobId,
    body: JobUpdate,
    session_id: SessionId = None,
) -> Response:
    with server.db.write() as tx:
        if not job_store.existing_ids(tx.conn, caller, [job_id]):
            raise NotFound("Could not find some Job IDs")
        updates = [(job_id, body)]
        answer, _ = once(tx, caller, key, lambda: _answer(1, advance.apply(tx, caller, updates, session_id)))
    if answer["refused"]:
        raise Refused(answer["refused"][0][2])
    return answers.json_answer(answer["applied"])


@router.delete("/{job_id}", status_code=204)
def delete_job(server: Srv, caller: Caller, job_id: JobId) -> Response:
    with server.db.write() as tx:
        if jobs.remove_matching(tx, caller, JobFilter(id=[job_id])) == 0:
            raise NotFound("Not found")
    return answers.no_content()


def _check_size(sent: Sequence[Any], verb: str) -> None:
    if len(sent) > MAX_BULK_ITEMS_ACCEPTED:
        raise TooLarge(f"Cannot bulk-{verb} more than {MAX_BULK_ITEMS_ACCEPTED} in a single API call.")
