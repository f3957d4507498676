"""Why an allocation is not submitted, does not start or runs nothing, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from balsam.core.endings import AS_USUAL, EndCode
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState
from balsam.logic.places import Places, minutes_left
from balsam.logic.reasons import Why, counted, since, when
from balsam.logic.sessions import MAX_COUNTED
from balsam.store import sessions
from balsam.store.owner import Owner

B = BatchJobState
Row = dict[str, Any]

PLAIN_ENDS = ("exit 0", "walltime", "deleted")
# What agents and launchers note of an allocation beside its submission.
SPOOL_NOTES = ("spool", "refused")
TAKES_JOBS = (B.pending_submission, B.queued, B.running)
LATELY_US = 86_400_000_000  # for how long the jobs that wait are measured by a BatchJob that has ended


def why(conn: Connection, owner: Owner, rows: Sequence[Row]) -> list[Row]:
    """A code and a sentence for each of the BatchJobs; what is known of a site is read once."""
    facts = Places(conn, owner)
    return [_told(facts, row) for row in rows]


def _told(facts: Places, row: Row) -> Row:
    reason = explain(facts, row)
    notes = "; ".join(row["status_info"][name] for name in SPOOL_NOTES if row["status_info"].get(name))
    parts = [reason.sentence, f"Its launchers tell: {notes}." if notes else "", *_beside(facts, row, reason)]
    return {"batch_job_id": row["id"], "code": reason.code, "sentence": " ".join(filter(None, parts))}


def _beside(facts: Places, row: Row, reason: Why) -> list[str]:
    """Sentences on the jobs that wait and do not fit, on a second agent, and on a clock at the site."""
    unfit = facts.unfit(row) if _is_measured(facts, row) else None
    told = [] if unfit is None else [unfit.sentence]
    if row["state"] in ACTIVE_BATCH_JOB_STATES:
        notes = facts.notes(row["site_id"])
        trouble = row["status_info"].get("scheduler")
        if trouble and not any(trouble in note for note in notes):
            notes.append(f"the agent can't work with the site's scheduler: {trouble}")
        told_already = trouble if trouble and trouble in reason.sentence else None
        told += [f"But: {note}." for note in notes if told_already is None or told_already not in note]
    return told


def _is_measured(facts: Places, row: Row) -> bool:
    """Whether the jobs that wait now are compared with what a BatchJob takes, or took a short while ago."""
    ended = row["end_time"]
    lately = ended is not None and facts.now - ended < LATELY_US
    return row["state"] in TAKES_JOBS or (row["state"] == B.finished and lately)


def explain(facts: Places, row: Row) -> Why:
    match B(row["state"]):
        case B.pending_submission:
            return _unsubmitted(facts, row)
        case B.submit_failed:
            error = row["status_info"].get("error", "no reason was recorded")
            return Why(
                "submit_failed",
                f"BatchJob {row['id']} could not be submitted at site {_site(facts, row)}: {error}. Mend "
                "that, then ask for another with `balsam queue submit`.",
            )
        case B.queued:
            return _queued(facts, row)
        case B.running:
            return _running(facts, row)
        case B.pending_deletion:
            return _deleted(facts, row)
        case B.finished:
            return _finished(facts, row)


def _told_ends(ended: str, cause: str, told: Sequence[Row]) -> Why:
    """From what the launchers themselves have told of their ends."""
    parts = " - ".join(dict.fromkeys(_ending(one) for one in told))
    codes = {EndCode(one["code"]) for one in told}
    plain = codes <= AS_USUAL or cause.startswith(PLAIN_ENDS[1:])
    return Why("finished" if plain else "ended_early", f"{ended}: {parts} ({cause}).")


def _ending(told: Row) -> str:
    cut, waiting = told["cut"], told["waiting"]
    was = "was ended before its time" if cut == 1 else "were ended before their time"
    ran = f"; {counted(cut, 'run')} {was}" if cut else ""
    some = f"more than {MAX_COUNTED} jobs" if waiting > MAX_COUNTED else counted(waiting, "job")
    left = f"; {some} that it takes waited then: `balsam queue submit` asks for more time" if waiting else ""
    return f"{told['sentence']}{ran}{left}"


def _site(facts: Places, row: Row) -> str:
    return str(facts.site(row["site_id"])["name"])


def _unsubmitted(facts: Places, row: Row) -> Why:
    agent = facts.agent(row["site_id"])
    asked = f"BatchJob {row['id']} was asked for at {since(row['created'], facts.now)}"
    if not agent.alive:
        return Why("no_agent", f"{asked} and is not submitted: {agent.absence(facts.now)}.")
    failing = _scheduler_fails(f"{asked} and is not submitted", row)
    if failing is not None:
        return failing
    waiting = row["status_info"].get("waiting")
    if waiting:
        return Why("waits_its_turn", f"{asked} and waits its turn at site {agent.site}: {waiting}.")
    return Why(
        "not_submitted",
        f"{asked}, and the agent of site {agent.site}, which lives, has not submitted it yet. It looks every "
        f"few seconds; if this lasts, see its log in {agent.path}/log, and whether its settings.yml has a "
        "section `scheduler`.",
    )


def _scheduler_fails(what: str, row: Row) -> Why | None:
    error = row["status_info"].get("scheduler")
    return (
        Why("scheduler_fails", f"{what}: the agent can't work with the site's scheduler: {error}.")
        if error
        else None
    )


def _queued(facts: Places, row: Row) -> Why:
    agent = facts.agent(row["site_id"])
    number = row["scheduler_id_text"] or row["scheduler_id"]
    size = f"{counted(row['num_nodes'], 'node')} for {row['wall_time_min']} min"
    waits = (
        f"BatchJob {row['id']} has been waiting in queue {row['queue']} of site {agent.site} since "
        f"{since(row['created'], facts.now)}, as {number}, for {size}"
    )
    if not agent.alive:
        return Why("no_agent", f"{waits}, as far as is known: {agent.absence(facts.now)}.")
    failing = _scheduler_fails(waits, row)
    if failing is not None:
        return failing
    info = row["status_info"]
    again = f" It was put back into the queue: {info['requeued']}." if info.get("requeued") else ""
    if info.get("missing"):
        return Why("scheduler_lost_it", f"{waits}: {info['missing']}.{again}")
    if info.get("never_starts"):
        return Why(
            "never_starts",
            f"{waits}, and can't start before somebody changes something: {info['never_starts']}. End it "
            f"with `balsam queue term --id {row['id']}` and ask for one that fits.{again}",
        )
    expected = (
        f" It is expected to start at {info['expected_start']} UTC." if info.get("expected_start") else ""
    )
    if info.get("reason"):
        return Why("queued", f"{waits}: the scheduler says {info['reason']}.{expected}{again}")
    return Why(
        "queued",
        f"{waits}: the scheduler decides when it starts, and smaller or shorter ones may start sooner."
        f"{expected}{again}",
    )


def _running(facts: Places, row: Row) -> Why:
    live = sessions.of_batch_jobs(facts.conn, facts.owner, [row["id"]])
    heard = [session for session in live if not facts.is_silent(session)]
    at = "" if row["start_time"] is None else f" since {since(row['start_time'], facts.now)}"
    runs = f"BatchJob {row['id']} has been running at site {_site(facts, row)}{at}"
    if row["status_info"].get("missing"):
        return Why("scheduler_lost_it", f"{runs}, and {row['status_info']['missing']}.")
    if heard:
        left = max(0, int(minutes_left(row, facts.now)))
        told = [session["trouble"] for session in heard if session["trouble"]]
        trouble = f" But: {told[0]}." if told else ""
        return Why("running", f"{runs} with {counted(len(heard), 'launcher')}; {left} min are left.{trouble}")
    output = f"its output is {facts.site(row['site_id'])['path']}/qsubmit/qlaunch{row['id']:05d}.output"
    last = sessions.newest_of_batch_job(facts.conn, facts.owner, row["id"])
    if last is None:
        return Why("no_launcher", f"{runs}, and no launcher has been heard of there: {output}.")
    return Why("launcher_silent", f"{runs}, and its launcher {facts.heard(last)}: {output}.")


def _deleted(facts: Places, row: Row) -> Why:
    agent = facts.agent(row["site_id"])
    wish = f"BatchJob {row['id']} is to be ended"
    if not agent.alive:
        return Why("no_agent", f"{wish}, and is not yet: {agent.absence(facts.now)}.")
    failing = row["status_info"].get("deletion")
    if failing:
        return Why("scheduler_fails", f"{wish}, and the scheduler does not do it: {failing}.")
    return _scheduler_fails(f"{wish}, and is not yet", row) or Why(
        "ending", f"{wish}: the agent of site {agent.site} tells the scheduler."
    )


def _finished(facts: Places, row: Row) -> Why:
    cause = row["cause"] or "no cause was recorded"
    at = "" if row["end_time"] is None else f" at {when(row['end_time'])}"
    ended = f"BatchJob {row['id']} of site {_site(facts, row)} ended{at}"
    told = sessions.endings(facts.conn, facts.owner, row["id"])
    if told:
        return _told_ends(ended, cause, told)
    if cause.startswith("exit 0"):
        return Why("finished", f"{ended}: its launchers ended in good order ({cause}), and told no reason.")
    error = " ".join(row["status_info"].get("error", "").split())
    text = f"{cause}: {error}" if error and error != cause else cause
    plain = cause.startswith(PLAIN_ENDS) or row["cause"] is None
    return Why("finished" if plain else "ended_early", f"{ended}: {text}.")
