"""Why a job does not progress: one code and one sentence, from what the database knows now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import from_us, now_us
from balsam.core.states import (
    ACTIVE_BATCH_JOB_STATES,
    HOOK_OF_STATE,
    RUNNABLE_STATES,
    BatchJobState,
    JobMode,
    JobState,
    ParentsMust,
    TransferItemState,
)
from balsam.logic import submission
from balsam.logic.messages import silence
from balsam.store import apps, batch_jobs, events, jobs, sessions, sites, transfers
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.transfers import TransferFilter

J = JobState


@dataclass(frozen=True, slots=True)
class Why:
    code: str
    sentence: str


def why(conn: Connection, owner: Owner, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A code and a sentence for each of the jobs; what is known of a site is read once."""
    facts = _Facts(conn, owner)
    return [_told(row["id"], _explain(facts, row), _doubt(facts, row)) for row in rows]


def _told(job_id: int, why: Why, doubt: str | None) -> dict[str, Any]:
    sentence = f"{why.sentence} But: {doubt}." if doubt else why.sentence
    return {"job_id": job_id, "code": why.code, "sentence": sentence, "doubt": doubt}


class _Facts:
    """What the reasons rest on, read when it is first needed."""

    def __init__(self, conn: Connection, owner: Owner) -> None:
        self.conn = conn
        self.owner = owner
        self.agent = cache(lambda site_id: sessions.agent_seen(conn, owner, site_id))
        self.allocations = cache(self._allocations)
        self.terms = cache(self._terms)

    def _terms(self, app_id: int) -> submission.Terms | None:
        app = apps.get(self.conn, self.owner, app_id)
        site = sites.get(self.conn, self.owner, app["site_id"]) if app else None
        return submission.Terms.of(app, site) if app and site else None

    def _allocations(self, site_id: int) -> list[dict[str, Any]]:
        f = BatchJobFilter(site_id=[site_id], state=list(ACTIVE_BATCH_JOB_STATES))
        return batch_jobs.page(self.conn, self.owner, f, Page())


def _explain(facts: _Facts, job: dict[str, Any]) -> Why:
    state = J(job["state"])
    if state is J.job_finished:
        return Why("finished", "It has finished.")
    if state is J.failed:
        return Why("failed", f"It failed: {failure(facts.conn, facts.owner, job['id'])}")
    if state is J.awaiting_parents:
        parents = job["parent_ids"]
        states = jobs.parent_states(facts.conn, facts.owner, parents)
        return parents_reason(parents, states, job["parents_must"])
    if job["session_id"] is not None:
        return _held(facts, job)
    if state is J.running:
        return Why("running_unheld", "It was forced to RUNNING, and no session runs it.")
    if state is J.created:
        return Why("forced", "It was forced to CREATED, which nothing moves on: set another state.")
    if state in HOOK_OF_STATE:
        return _agent(facts, job, HOOK_OF_STATE[state])
    if state in RUNNABLE_STATES:
        return _allocation(facts, job)
    return _transfer(facts, job)


def _doubt(facts: _Facts, job: dict[str, Any]) -> str | None:
    """What would have been refused of a client that asks for strict handling."""
    terms = facts.terms(job["app_id"])
    if terms is None or job["state"] == J.job_finished:
        return None
    items: list[dict[str, Any]] = []
    if terms.needed_slots:
        items = transfers.page(facts.conn, facts.owner, TransferFilter(job_id=[job["id"]]), Page())
    return submission.doubt(terms, job, submission.slots_of(terms, items))


def _transfer(facts: _Facts, job: dict[str, Any]) -> Why:
    f = TransferFilter(job_id=[job["id"]])
    items = transfers.page(facts.conn, facts.owner, f, Page())
    broken = [item for item in items if item["state"] == TransferItemState.error]
    if broken:
        info = broken[0]["transfer_info"]
        reason = info.get("error") or info.get("message") or "no reason was recorded"
        return Why("transfer_error", f"The transfer of {broken[0]['local_path']} failed: {reason}.")
    return Why("transfer", f"It is {job['state']}: it waits for its files to be transferred.")


def _held(facts: _Facts, job: dict[str, Any]) -> Why:
    if job["killed_by"] is not None:
        return _killed(facts, job)
    since = from_us(job["state_since"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    if job["state"] == J.running:
        return Why("running", f"It has been running since {since}.")
    return Why("held", f"Session {job['session_id']} holds it and has not yet moved it on.")


def _killed(facts: _Facts, job: dict[str, Any]) -> Why:
    session = sessions.get(facts.conn, facts.owner, job["session_id"])
    told = session is not None and session["fenced"]
    whom = silence(session) if session is not None and told else f"session {job['session_id']} can't be told"
    return Why(
        "killed", f"It was killed by {job['killed_by']}, and {whom}: it fails when that lets go of it."
    )


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


def _agent(facts: _Facts, job: dict[str, Any], hook: str) -> Why:
    alive, last = facts.agent(job["site_id"])
    if alive:
        return Why("hook", f"It waits for the site's agent to call {hook}().")
    heard = (
        f"was last heard of at {from_us(last):%Y-%m-%d %H:%M:%S} UTC" if last else "has never been heard of"
    )
    return Why(
        "no_agent", f"It waits for {hook}(), and the site's agent {heard}: run `balsam site start` there."
    )


def _allocation(facts: _Facts, job: dict[str, Any]) -> Why:
    active = facts.allocations(job["site_id"])
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
        return Why("next", f"It waits for a free place in BatchJob {running[0]['id']}{_asks(job)}.")
    return Why("queued", f"It waits for BatchJob {fitting[0]['id']}, which is {fitting[0]['state']}.")


def _asks(job: dict[str, Any]) -> str:
    """What a launcher passes a job over for; only the launcher knows what its nodes have."""
    ranks = job["ranks_per_node"]
    gpus, mem_mb = ranks * job["gpus_per_rank"], ranks * job["mem_mb_per_rank"]
    asked = [f"{gpus:g} GPUs"] * (gpus > 0) + [f"{mem_mb} MB"] * (mem_mb > 0)
    return f", on a node that has the {' and '.join(asked)} that it asks for" if asked else ""


def misfit(job: dict[str, Any], batch_job: dict[str, Any]) -> str | None:
    """Why none of a BatchJob's launchers can run a job, or None."""
    parts = batch_job["partitions"] or [batch_job]
    reasons = [_misfit_of_part(job, part) for part in parts]
    if None not in reasons:
        return reasons[0]
    left = batch_job["wall_time_min"]
    if batch_job["start_time"] is not None:
        left -= (now_us() - batch_job["start_time"]) / 60e6
    if job["wall_time_min"] > left:
        return f"the job needs {job['wall_time_min']} min and {max(0, left):.0f} min are left"
    return None


def _misfit_of_part(job: dict[str, Any], part: dict[str, Any]) -> str | None:
    if not _has_tags(job["tags"], part["filter_tags"]):
        wanted = ", ".join(f"{key}={value}" for key, value in part["filter_tags"].items())
        return f"it takes only jobs with the tags {wanted}"
    if job["num_nodes"] > part["num_nodes"]:
        return f"the job needs {job['num_nodes']} nodes and it has {part['num_nodes']}"
    if part["job_mode"] == JobMode.serial and (job["num_nodes"] > 1 or job["ranks_per_node"] > 1):
        return "it runs single-process jobs (serial mode), and the job has several ranks"
    return None


def _has_tags(tags: dict[str, str], wanted: dict[str, str]) -> bool:
    return all(tags.get(key) == value for key, value in wanted.items())
