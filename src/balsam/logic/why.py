"""Why a job does not progress: one code and one sentence, from what the database knows now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import from_us, now_us
from balsam.core.errors import NotFound
from balsam.core.states import (
    ACTIVE_BATCH_JOB_STATES,
    HOOK_OF_STATE,
    RUNNABLE_STATES,
    BatchJobState,
    JobState,
    ParentsMust,
)
from balsam.store import batch_jobs, events, jobs, sessions
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

J = JobState


@dataclass(frozen=True, slots=True)
class Why:
    code: str
    sentence: str


def why(conn: Connection, owner: Owner, job_id: int) -> dict[str, Any]:
    rows = jobs.by_ids(conn, owner, [job_id])
    if not rows:
        raise NotFound("Not found")
    found = _explain(conn, owner, rows[0])
    return {"job_id": job_id, "code": found.code, "sentence": found.sentence}


def _explain(conn: Connection, owner: Owner, job: dict[str, Any]) -> Why:
    state = J(job["state"])
    if state is J.job_finished:
        return Why("finished", "It has finished.")
    if state is J.failed:
        return Why("failed", f"It failed: {failure(conn, owner, job['id'])}")
    if state is J.awaiting_parents:
        parents = job["parent_ids"]
        return parents_reason(parents, jobs.parent_states(conn, owner, parents), job["parents_must"])
    if job["session_id"] is not None:
        return _held(job)
    if state is J.running:
        return Why("running_unheld", "It was forced to RUNNING, and no session runs it.")
    if state in HOOK_OF_STATE:
        return _agent(conn, owner, job, HOOK_OF_STATE[state])
    if state in RUNNABLE_STATES:
        return _allocation(conn, owner, job)
    return Why("transfer", f"It is {state}: it waits for its files to be transferred.")


def _held(job: dict[str, Any]) -> Why:
    since = from_us(job["state_since"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    if job["state"] == J.running:
        return Why("running", f"It has been running since {since}.")
    return Why("held", f"Session {job['session_id']} holds it and has not yet moved it on.")


def parents_reason(parents: list[int], states: dict[int, JobState], must: str) -> Why:
    """Which parent an AWAITING_PARENTS job waits for; gone and failed ones come first."""
    gone = [parent for parent in parents if parent not in states]
    if gone:
        return Why(
            "parent_gone", f"Its parent job {gone[0]} was deleted, so it can never start; delete it too."
        )
    failed = [parent for parent in parents if states[parent] is J.failed]
    if failed and must == ParentsMust.finish:
        return Why(
            "parent_failed",
            f"Its parent job {failed[0]} FAILED, and it needs all parents finished: mend and retry the "
            'parent, set parents_must="end", or delete this job.',
        )
    waiting = [parent for parent in parents if states[parent] not in (J.failed, J.job_finished)]
    if not waiting:
        return Why("parents_done", "Its parents are done; it moves on with the next change.")
    first = waiting[0]
    return Why(
        "parent_unfinished",
        f"{len(waiting)} of its parents are not done, e.g. job {first} ({states[first]}).",
    )


def failure(conn: Connection, owner: Owner, job_id: int) -> str:
    """The reason in the newest FAILED event, as one line."""
    f = EventFilter(job_id=[job_id], to_state=[J.failed])
    rows = events.page(conn, owner, f, Page(limit=1, order="-id"))
    data = rows[0]["data"] if rows else {}
    lines = [line.strip() for line in str(data.get("error", "")).splitlines() if line.strip()]
    parts = [str(data["message"])] if data.get("message") else []
    if data.get("returncode") is not None:
        parts.append(f"exit code {data['returncode']}")
    return ": ".join(parts + lines[-1:]) or "no reason was recorded"


def _agent(conn: Connection, owner: Owner, job: dict[str, Any], hook: str) -> Why:
    alive, last = sessions.agent_seen(conn, owner, job["site_id"])
    if alive:
        return Why("hook", f"It waits for the site's agent to call {hook}().")
    when = (
        "has never been heard of"
        if last is None
        else f"was last heard of at {from_us(last):%Y-%m-%d %H:%M:%S} UTC"
    )
    return Why(
        "no_agent", f"It waits for {hook}(), and the site's agent {when}: run `balsam site start` there."
    )


def _allocation(conn: Connection, owner: Owner, job: dict[str, Any]) -> Why:
    f = BatchJobFilter(site_id=[job["site_id"]], state=list(ACTIVE_BATCH_JOB_STATES))
    active = batch_jobs.page(conn, owner, f, Page())
    if not active:
        return Why(
            "no_allocation", "No BatchJob is queued or running at its site: run `balsam queue submit`."
        )
    reasons = {row["id"]: misfit(job, row) for row in active}
    fitting = [row for row in active if reasons[row["id"]] is None]
    if not fitting:
        first = active[0]["id"]
        return Why("no_fit", f"No active BatchJob takes it; BatchJob {first}: {reasons[first]}.")
    running = [row for row in fitting if row["state"] == BatchJobState.running]
    if running:
        return Why("next", f"It waits for a free place in BatchJob {running[0]['id']}.")
    return Why("queued", f"It waits for BatchJob {fitting[0]['id']}, which is {fitting[0]['state']}.")


def misfit(job: dict[str, Any], batch_job: dict[str, Any]) -> str | None:
    """Why a BatchJob can't run a job, or None."""
    parts = batch_job["partitions"] or [batch_job]
    if not any(_has_tags(job["tags"], part["filter_tags"]) for part in parts):
        return f"it takes only jobs with the tags {batch_job['filter_tags']}"
    if job["num_nodes"] > max(part["num_nodes"] for part in parts):
        return f"the job needs {job['num_nodes']} nodes and it has {batch_job['num_nodes']}"
    left = batch_job["wall_time_min"]
    if batch_job["start_time"] is not None:
        left -= (now_us() - batch_job["start_time"]) / 60e6
    if job["wall_time_min"] > left:
        return f"the job needs {job['wall_time_min']} min and {max(0, left):.0f} min are left"
    return None


def _has_tags(tags: dict[str, str], wanted: dict[str, str]) -> bool:
    return all(tags.get(key) == value for key, value in wanted.items())
