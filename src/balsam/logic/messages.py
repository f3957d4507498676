"""Messages to sessions: kill, tail and drain, each with a deadline; what came back, or that nothing did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import from_us, now_us
from balsam.core.errors import Invalid, NotFound, Refused
from balsam.core.limits import DRAIN_SEC, TAIL_HOLD_SEC, TAIL_SEC
from balsam.core.states import DONE_STATES, RUN_END_STATES, JobState
from balsam.store import batch_jobs, jobs, messages, sessions
from balsam.store.database import Tx
from balsam.store.owner import Owner

J = JobState
# From then on nothing more is written, unless the job starts again.
_HAS_RUN = DONE_STATES | RUN_END_STATES | {J.postprocessed, J.staged_out}


def tell(
    tx: Tx,
    owner: Owner,
    session: dict[str, Any],
    kind: str,
    body: dict[str, Any],
    within_sec: float,
    job_id: int | None = None,
) -> int:
    """Puts a message on a session's stream, for so many seconds; its id."""
    values = {"kind": kind, "body": body, "job_id": job_id, "deadline": now_us() + int(within_sec * 1e6)}
    tx.changed(owner.user_id, "messages", session["site_id"])
    return messages.add(tx.conn, owner, session, values)


def answer(tx: Tx, owner: Owner, session_id: int, message_id: int, content: dict[str, Any]) -> None:
    """Keeps the session's answer; one that comes again changes nothing."""
    message = messages.answer(tx.conn, owner, session_id, message_id, content, now_us())
    if message is None:
        raise NotFound("Not found")
    tx.changed(owner.user_id, "answers", message["site_id"])


def open_of(conn: Connection, owner: Owner, session_id: int) -> list[dict[str, Any]]:
    """What a session has not answered and still may."""
    return messages.open_of(conn, owner, session_id, now_us())


def silence(session: dict[str, Any]) -> str:
    """The sentence for somebody whom a session did not answer."""
    seen = session["heartbeat"]
    if session["ended"] is not None:
        return f"{who(session)} ended at {from_us(session['ended']):%Y-%m-%d %H:%M:%S} UTC without an answer"
    ago = max(0, now_us() - seen) // 1_000_000
    at = f"{from_us(seen):%Y-%m-%d %H:%M:%S} UTC"
    return f"{who(session)} has not answered; its last heartbeat was at {at}, {ago} s ago"


def who(session: dict[str, Any]) -> str:
    """A session in words."""
    if session["num_nodes"] == 0:
        return f"the site's agent (session {session['id']})"
    if session["batch_job_id"] is None:
        return f"the launcher (session {session['id']})"
    return f"the launcher of BatchJob {session['batch_job_id']} (session {session['id']})"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a session that somebody waits for."""

    message_id: int
    session_id: int


def ask_tail(
    tx: Tx,
    owner: Owner,
    job_id: int,
    lines: int | None,
    after: int | None,
    *,
    follow: bool,
    attempt: int | None = None,
) -> Asked:
    """Asks whoever can see a job's output for a piece of it: the end, or what comes behind `after` bytes.

    Of its last attempt, or of another one, the next included. Raises Refused where nobody is there who can,
    Invalid for an attempt that there is not.
    """
    found = jobs.by_ids(tx.conn, owner, [job_id])
    if not found:
        raise NotFound("Not found")
    job = found[0]
    if attempt is not None and attempt > job["num_runs"] + follow:
        raise Invalid(f"job {job_id} has no attempt {attempt}: it has run {_times(job['num_runs'])}")
    session = _who_sees(tx, owner, job)
    holds = follow and job["state"] not in _HAS_RUN
    body: dict[str, Any] = {
        "workdir": job["workdir"],
        "lines": lines,
        "after": after,
        "hold_sec": TAIL_HOLD_SEC if holds else 0.0,
        "final": job["state"] != J.running,
    }
    if attempt is not None and attempt != job["num_runs"]:
        body |= {"attempt": attempt, "may_come": attempt > job["num_runs"]}
    return Asked(tell(tx, owner, session, "tail", body, TAIL_SEC, job_id), session["id"])


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times" if number else "not yet"


def _who_sees(tx: Tx, owner: Owner, job: dict[str, Any]) -> dict[str, Any]:
    holder = sessions.get(tx.conn, owner, job["session_id"]) if job["session_id"] is not None else None
    if holder is not None and holder["fenced"] and holder["ended"] is None:
        return holder
    anybody = sessions.live_at(tx.conn, owner, job["site_id"])  # they all see its files
    if anybody is not None:
        return anybody
    _, last = sessions.agent_seen(tx.conn, owner, job["site_id"])
    heard = (
        f"was last heard of at {from_us(last):%Y-%m-%d %H:%M:%S} UTC" if last else "has never been heard of"
    )
    raise Refused(
        f"nobody can read the output of job {job['id']} now: the agent of site {job['site_id']} {heard} "
        "(`balsam site start` there starts it)"
    )


def drain(tx: Tx, owner: Owner, batch_job_id: int) -> list[int]:
    """Tells all launchers of an allocation to start nothing more; the ids of the messages."""
    batch_job = batch_jobs.get(tx.conn, owner, batch_job_id)
    if batch_job is None:
        raise NotFound("Not found")
    launchers = [row for row in sessions.of_batch_jobs(tx.conn, owner, [batch_job_id]) if row["fenced"]]
    if not launchers:
        raise Refused(
            f"BatchJob {batch_job_id} is {batch_job['state']} and has no launcher that could be told: "
            f"`balsam queue term --id {batch_job_id}` ends it"
        )
    return [tell(tx, owner, row, "drain", {}, DRAIN_SEC) for row in launchers]


def drain_with_its_allocation(tx: Tx, owner: Owner, session: dict[str, Any]) -> None:
    """A launcher that comes late to an allocation that is drained hears of it first."""
    batch_job_id = session["batch_job_id"]
    if batch_job_id is not None and messages.is_drained(tx.conn, owner, batch_job_id):
        tell(tx, owner, session, "drain", {}, DRAIN_SEC)
