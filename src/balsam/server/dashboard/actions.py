"""Killing, retrying and deleting jobs: by a filter or ids, after the visitor has confirmed how many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams

from balsam.core.errors import Invalid
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.core.states import DONE_STATES, JobState
from balsam.logic import jobs as job_logic
from balsam.logic import kills, retries
from balsam.logic.kills import Fate
from balsam.server.context import Server, Srv
from balsam.server.dashboard import pages, words
from balsam.server.dashboard.choice import Choice, whole
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Acting, Form, Looking
from balsam.store import jobs as store
from balsam.store import kills as kill_store
from balsam.store.database import Tx
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Counts = dict[str, int]
TICKED = "ticked"


class Action(StrEnum):
    kill = "kill"
    retry = "retry"
    delete = "delete"


def _kill(tx: Tx, owner: Owner, ids: list[int]) -> Counts:
    killed = kills.kill(tx, owner, ids)
    return {"killed": len(killed.ids(Fate.killed)), "told": len(killed.ids(Fate.told, Fate.noted))}


def _retry(tx: Tx, owner: Owner, ids: list[int]) -> Counts:
    retried, refused = retries.retry(tx, owner, ids)
    return {"retried": retried, "refused": len(refused)}


def _delete(tx: Tx, owner: Owner, ids: list[int]) -> Counts:
    return {"deleted": job_logic.remove(tx, owner, ids)}


_ACT: dict[Action, Callable[[Tx, Owner, list[int]], Counts]] = {
    Action.kill: _kill,
    Action.retry: _retry,
    Action.delete: _delete,
}
_ABOUT: dict[Action, frozenset[JobState]] = {
    Action.kill: frozenset(JobState) - DONE_STATES,
    Action.retry: frozenset({JobState.failed}),
    Action.delete: frozenset(JobState),
}


def concerned(action: Action, chosen: JobFilter) -> JobFilter:
    """Those of the chosen jobs that the action does something to."""
    states = _ABOUT[action] if chosen.state is None else _ABOUT[action] & set(chosen.state)
    return replace(chosen, state=sorted(states))


@router.get("/ui/jobs/confirm")
def confirm(request: Request, server: Srv, visitor: Looking, action: Action) -> Response:
    """Says what will be done to how many; with nothing ticked, that there is nothing to do it to."""
    choice = _chosen(request.query_params)

    def counts(look: Look) -> dict[str, Any]:
        if choice is None:
            return {"by_state": [], "count": 0}
        f = concerned(action, choice.selection.filter())
        by_state = store.count_by_state(look.conn, look.owner, f)
        return {"by_state": sorted(by_state.items()), "count": sum(by_state.values())}

    back = Choice.of(request.query_params).query
    return pages.show(
        request, server, visitor, "confirm", {"counts": counts}, action=action.value, choice=choice, back=back
    )


def _chosen(params: QueryParams) -> Choice | None:
    """Rows that were ticked stand for themselves, whatever the filter was; None where none was.

    All that the filter chooses are meant only where that was said.
    """
    if params.get("whom") == "all":
        return Choice.of(params)
    ids = [
        one for one in params.getlist(TICKED) if one.strip()
    ]  # not as `id`, which is a filter: it would be lost where none is ticked
    return Choice.of(QueryParams([("id", one) for one in ids])) if ids else None


@router.post("/ui/jobs/act")
async def act(request: Request, server: Srv, visitor: Acting, form: Form) -> Response:
    """Does it, to at most as many as were confirmed."""
    named, confirmed = str(form.get("action", "")), whole(form.get("confirmed", ""))
    if named not in list(Action) or confirmed is None:
        raise Invalid("what to do with how many jobs was not confirmed: open the page again")
    choice = Choice.of(form)
    if not choice.fields and form.get("whom") != "all":
        raise Invalid("which jobs was not said: tick some, or choose all, and go on from there")
    done = await run_in_threadpool(_act, server, visitor.owner, Action(named), choice, confirmed)
    told = words.query(**done)
    job_id = whole(form.get("then", ""))
    if job_id is not None:
        return pages.go_to(request, f"/jobs/{job_id}")
    back = Choice.of(QueryParams(str(form.get("back", "")))).query
    return pages.go_to(request, "/jobs?" + "&".join(filter(None, (back, told))))


def _act(server: Server, owner: Owner, action: Action, choice: Choice, confirmed: int) -> Counts:
    """A few thousand in a transaction, so that launchers and agents get their turns between."""
    f = concerned(action, choice.selection.filter())
    with server.db.read() as conn:
        found = store.count(conn, owner, f)
    if found > confirmed:
        raise Invalid(
            f"there are {words.number(found)} such jobs by now, and {words.number(confirmed)} were "
            "confirmed: go back and look again"
        )
    done: Counts = {}
    after = 0
    while True:
        with server.db.write() as tx:
            ids = kill_store.lock_some(tx.conn, owner, f, after, MAX_ITEMS_PER_BULK_OP)
            for name, count in _ACT[action](tx, owner, ids).items() if ids else ():
                done[name] = done.get(name, 0) + count
        if len(ids) < MAX_ITEMS_PER_BULK_OP:
            return done
        after = ids[-1]
