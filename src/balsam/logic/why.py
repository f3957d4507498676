"""Why a job does not progress: one code and one sentence, from what the database knows now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Connection

from balsam.core.states import (
    DONE_STATES,
    HOOK_OF_STATE,
    RUNNABLE_STATES,
    BatchJobState,
    JobState,
    TransferItemState,
)
from balsam.logic import batch_job_why, reasons, submission
from balsam.logic.ancestors import Ancestors, Chain
from balsam.logic.messages import silence
from balsam.logic.places import Places
from balsam.logic.reasons import Ask, Ended, Place, Waiting, Why, counted, since, when
from balsam.logic.signature import failure
from balsam.store import apps, batch_jobs, event_lists, jobs, transfers, waits
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.events import EventFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.transfers import TransferFilter

J = JobState
Row = dict[str, Any]


def why(conn: Connection, owner: Owner, rows: Sequence[Row]) -> list[Row]:
    """A code and a sentence for each of the jobs; what is known of a site is read once."""
    facts = Facts(conn, owner)
    return [told(facts, row) for row in rows]


class Facts(Places):
    """What the reasons rest on, read when it is first needed."""

    def __init__(self, conn: Connection, owner: Owner) -> None:
        super().__init__(conn, owner)
        self.terms = cache(self._terms)
        self.in_hand = cache(lambda number: waits.in_hand(conn, owner, [number]).get(number))
        self.ancestors = Ancestors(conn, owner)

    def _place(self, site_id: int) -> Place:
        place = super()._place(site_id)
        return place if place.offers else replace(place, ended=self._last_end(site_id))

    def _last_end(self, site_id: int) -> Ended | None:
        f = BatchJobFilter(site_id=[site_id], state=[BatchJobState.finished, BatchJobState.submit_failed])
        for row in batch_jobs.page(self.conn, self.owner, f, Page(limit=1, order="-id")):
            if self.now - (row["end_time"] or row["created"]) < batch_job_why.LATELY_US:
                reason = batch_job_why.explain(self, row)
                return Ended(self.offers_of(row), reason.sentence, reason.code == "ended_early")
        return None

    def _terms(self, app_id: int) -> submission.Terms | None:
        app = apps.get(self.conn, self.owner, app_id)
        return submission.Terms.of(app, self.site(app["site_id"])) if app else None

    def transfers(self, job_id: int) -> list[Row]:
        return transfers.page(self.conn, self.owner, TransferFilter(job_id=[job_id]), Page())

    def newest_event(self, job_id: int, *states: JobState) -> Row | None:
        f = EventFilter(job_id=[job_id], to_state=list(states))
        rows = event_lists.page(self.conn, self.owner, f, Page(limit=1, order="-id"))
        return rows[0] if rows else None


def told(facts: Facts, job: Row) -> Row:
    """As it travels."""
    reason, doubt = explain(facts, job), _doubt(facts, job)
    hides = doubt is not None and doubt not in reason.sentence
    notes = [] if J(job["state"]) in DONE_STATES else facts.notes(job["site_id"])
    but = [*([doubt] if hides else []), *notes]
    sentence = " ".join([reason.sentence, *(f"But: {one}." for one in but)])
    return {"job_id": job["id"], "code": reason.code, "sentence": sentence, "doubt": doubt}


def explain(facts: Facts, job: Row) -> Why:
    state = J(job["state"])
    if state is J.job_finished:
        return Why("finished", f"Job {job['id']} has finished.")
    if state is J.failed:
        return _failed(facts, job)
    if state is J.awaiting_parents:
        return reasons.parents(job["id"], _waiting(facts, job))
    if job["session_id"] is not None:
        return _held(facts, job)
    if state is J.running:
        return Why(
            "running_unheld",
            f"Job {job['id']} was forced to RUNNING at {when(job['state_since'])}, and no session runs it: "
            "set another state (`balsam job modify`).",
        )
    if state is J.created:
        return Why(
            "forced", f"Job {job['id']} was forced to CREATED, which nothing moves on: set another state."
        )
    if state in HOOK_OF_STATE:
        agent = facts.agent(job["site_id"])
        return reasons.hook(job["id"], HOOK_OF_STATE[state], job["state_since"], agent, facts.now)
    if state in RUNNABLE_STATES:
        return reasons.runnable(job["id"], Ask.of(job), facts.place(job["site_id"]), facts.now)
    return _transfer(facts, job)


def _waiting(facts: Facts, job: Row) -> Waiting | None:
    ancestors = facts.ancestors
    chain = ancestors.chain_of(job["id"], job["parent_ids"], job["parents_must"])
    if chain is None:
        return None
    states = [ancestors.state(parent) for parent in job["parent_ids"]]
    return Waiting(
        chain=chain.job_ids,
        root_state=chain.state,
        parent_state=ancestors.state(chain.job_ids[0]),
        is_lost=chain.is_lost,
        reason=_of_root(facts, chain),
        waiting=sum(state not in DONE_STATES for state in states),
        num_parents=len(states),
    )


def _of_root(facts: Facts, chain: Chain) -> str:
    """Why the root of a chain FAILED, or the sentence on what keeps it."""
    if chain.is_lost:
        return facts.ancestors.reason(chain.root)
    if chain.state is J.awaiting_parents:
        return ""  # beyond what is looked at
    rows = jobs.by_ids(facts.conn, facts.owner, [chain.root])
    return explain(facts, rows[0]).sentence if rows else ""


def _doubt(facts: Facts, job: Row) -> str | None:
    """What would have been refused of a client that asks for strict handling."""
    terms = None if job["state"] == J.job_finished else facts.terms(job["app_id"])
    if terms is None:
        return None
    items = facts.transfers(job["id"]) if terms.slots else []
    return submission.doubt(terms, job, submission.slots_of(terms, items))


def _transfer(facts: Facts, job: Row) -> Why:
    items = facts.transfers(job["id"])
    broken = [item for item in items if item["state"] == TransferItemState.error]
    if broken:
        info = broken[0]["transfer_info"]
        reason = info.get("error") or info.get("message") or "no reason was recorded"
        return Why(
            "transfer_error",
            f"Job {job['id']} is {job['state']}, and the transfer of {broken[0]['local_path']} "
            f"({broken[0]['location_alias']}:{broken[0]['remote_path']}) failed: {reason}.",
        )
    agent = facts.agent(job["site_id"])
    left = [item for item in items if item["state"] != TransferItemState.done]
    named = f", e.g. {left[0]['local_path']}, which is {left[0]['state']}" if left else ""
    waits = f"Job {job['id']} waits for {counted(len(left), 'transfer')} of its files{named}"
    if facts.site(job["site_id"])["moves_files"] is False:
        after = J.staged_in if job["state"] == J.ready else J.staged_out
        return Why(
            "no_transfers",
            f"{waits}, and the agent of site {agent.site} moves no files: this release has no transfers yet. "
            f"Move them yourself, then run `balsam job modify --id {job['id']} -s {after}`.",
        )
    if not agent.alive:
        return Why("no_agent", f"{waits}, and {agent.absence(facts.now)}.")
    return Why("transfer", f"{waits}, since {since(job['state_since'], facts.now)}.")


def _held(facts: Facts, job: Row) -> Why:
    session = facts.session(job["session_id"])
    if job["killed_by"] is not None:
        return _killed(job, session)
    if session is None:
        return Why("held", f"Session {job['session_id']} holds job {job['id']} and has not moved it on yet.")
    holder = facts.holder(session)
    if facts.is_silent(session):
        return _held_by_the_silent(facts, job, session)
    if job["state"] == J.running:
        return Why(
            "running",
            f"Job {job['id']} has been running since {since(job['state_since'], facts.now)}: {holder.who} "
            f"runs it and {facts.heard(session)}.",
        )
    if holder.is_agent and J(job["state"]) in HOOK_OF_STATE:
        return reasons.held_by_agent(job["id"], HOOK_OF_STATE[J(job["state"])], holder, facts.now)
    return Why(
        "held",
        f"Job {job['id']} is held by {holder.who}, which has taken it and has not moved it on yet: it waits "
        f"for a free place there. {_busy(facts, session['id'])}".strip(),
    )


def _busy(facts: Facts, session_id: int) -> str:
    held = facts.in_hand(session_id)
    if held is None or not held.running:
        return ""
    return f"{reasons.in_words('It', replace(held, waiting=0), facts.now)}."


def _held_by_the_silent(facts: Facts, job: Row, session: Row) -> Why:
    then = "goes to RUN_TIMEOUT" if job["state"] == J.running else "is free again"
    return Why(
        "held_silent",
        f"Job {job['id']} is {job['state']} and held by {facts.holder(session).who}, which "
        f"{facts.heard(session)}: if it has died, the job {then} when its lease is over, at the latest 15 "
        "min after that.",
    )


def _killed(job: Row, session: Row | None) -> Why:
    told = session is not None and session["fenced"]
    whom = silence(session) if session is not None and told else f"session {job['session_id']} can't be told"
    return Why(
        "killed",
        f"Job {job['id']} was killed by {job['killed_by']}, and {whom}: it fails when that lets go of it.",
    )


def _failed(facts: Facts, job: Row) -> Why:
    event = facts.newest_event(job["id"], J.failed)
    reason = failure(event["data"]) if event else ""
    at = f" at {when(event['timestamp'])}" if event else ""
    more = f"; its output: `balsam job tail {job['id']}`"
    if job["num_runs"] <= 1:
        more = "" if job["num_runs"] == 0 else more
        return Why("failed", f"Job {job['id']} failed{at}: {reason or 'no reason was recorded'}{more}.")
    last = facts.newest_event(job["id"], J.run_error, J.run_timeout)
    ended = f"; its last run ended in {last['to_state']}" if last else ""
    text = failure(last["data"]) if last else ""
    ended += f" ({text})" if text and text != reason else ""
    return Why(
        "failed_after_retries",
        f"Job {job['id']} ran {job['num_runs']} times and failed{at}: {reason or 'no reason was recorded'}"
        f"{ended}{more}.",
    )
