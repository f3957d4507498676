"""Sessions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from balsam.core.limits import MAX_ID
from balsam.logic import sessions
from balsam.logic.once import once
from balsam.schemas.jobs import JobOut
from balsam.schemas.sessions import (
    PaginatedSessionsOut,
    SessionAcquire,
    SessionCreate,
    SessionDeath,
    SessionEnding,
    SessionOut,
    SessionTick,
    SessionTickOut,
)
from balsam.server import answers
from balsam.server.context import Caller, OnceKey, Server, Srv
from balsam.server.queries import SessionQuery, Sessions
from balsam.server.query_strings import documented
from balsam.store import app_versions
from balsam.store import jobs as job_store
from balsam.store import sessions as store
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

router = APIRouter(prefix="/sessions", tags=["sessions"])
SessionId = Annotated[int, Path(ge=0, le=MAX_ID)]


def _out(server: Server, row: dict[str, Any]) -> dict[str, Any]:
    return answers.session(row, server.settings.lease_sec)


@router.get("/", responses={200: {"model": PaginatedSessionsOut}}, openapi_extra=documented(SessionQuery))
def list_sessions(server: Srv, caller: Caller, query: Sessions) -> Response:
    """The live ones."""
    with server.db.glance() as conn:
        rows = store.live(conn, caller, query.id)
    return answers.listing(rows, lambda row: _out(server, row), len(rows), None)


@router.post("/", status_code=201, responses={201: {"model": SessionOut}})
def open_session(server: Srv, caller: Caller, key: OnceKey, body: SessionCreate) -> Response:
    with server.db.write() as tx:
        answer, _ = once(tx, caller, key, lambda: _out(server, sessions.open_session(tx, caller, body)))
    return answers.json_answer(answer, 201)


@router.put("/{session_id}", responses={200: {"model": SessionTickOut | None}})
def tick(
    server: Srv, caller: Caller, session_id: SessionId, body: Annotated[SessionTick | None, Body()] = None
) -> Response:
    """A heartbeat. An empty body, as the published client sends it, answers null."""
    beat = body or SessionTick()
    with server.db.write() as tx:
        answer = sessions.tick(tx, caller, session_id, beat)
    return answers.json_answer(answer if beat.model_fields_set else None)


@router.post("/{session_id}", responses={200: {"model": list[JobOut]}})
def acquire(
    server: Srv, caller: Caller, key: OnceKey, session_id: SessionId, body: SessionAcquire
) -> Response:
    """Takes jobs for the session. The same idempotency key answers the same jobs, if it still holds them.

    Each tells the version that its app has now: no older code may run it.
    """
    taken: list[dict[str, Any]] = []

    def take() -> list[int]:
        taken.extend(sessions.acquire(tx, caller, session, body))
        return [row["id"] for row in taken]

    with server.db.write() as tx:
        session = sessions.renew(tx, caller, session_id)
        ids, again = once(tx, caller, key, take)
        rows = _held(tx.conn, caller, session_id, ids) if again else taken
        versions = app_versions.current(tx.conn, caller, {row["app_id"] for row in rows})
    return answers.json_answer([answers.held_job(row, versions) for row in rows])


def _held(conn: Any, caller: Owner, session_id: int, ids: list[int]) -> list[dict[str, Any]]:
    """Those of the jobs that the session still holds, in the order of the ids."""
    rows = job_store.page(conn, caller, JobFilter(id=ids, session_id=[session_id]), Page()) if ids else []
    by_id = {row["id"]: row for row in rows}
    return [by_id[i] for i in ids if i in by_id]


@router.put("/{session_id}/ending", status_code=204)
def tell_ending(server: Srv, caller: Caller, session_id: SessionId, body: SessionEnding) -> Response:
    """Why a launcher ends, or ended: its lease may be over by then."""
    with server.db.write() as tx:
        sessions.tell_ending(tx, caller, session_id, body)
    return answers.no_content()


@router.post("/{session_id}/death", status_code=204)
def tell_death(
    server: Srv, caller: Caller, key: OnceKey, session_id: SessionId, body: SessionDeath
) -> Response:
    """A launcher died while it prepared or started a job: that counts on the job. Its lease may be over."""
    with server.db.write() as tx:
        once(tx, caller, key, lambda: sessions.tell_death(tx, caller, session_id, body.job_id))
    return answers.no_content()


@router.delete("/{session_id}", status_code=204)
def end_session(server: Srv, caller: Caller, session_id: SessionId) -> Response:
    with server.db.write() as tx:
        sessions.end(tx, caller, session_id)
    return answers.no_content()
