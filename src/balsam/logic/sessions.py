"""Leases: opening, acquiring, heartbeats, ends, and the sweep of those that ran out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from balsam.core import digest
from balsam.core.clock import now_us, to_us
from balsam.core.errors import Invalid, NotFound
from balsam.core.limits import LEASE_SEC
from balsam.core.resources import node_weight
from balsam.core.states import RUNNABLE_STATES, JobState
from balsam.logic import advance, messages
from balsam.logic.moves import killed_data
from balsam.schemas.sessions import SessionAcquire, SessionCreate, SessionEnding, SessionTick
from balsam.store import apps, batch_jobs, jobs, kills, sessions, sites
from balsam.store.database import Database, Tx
from balsam.store.jobs import Acquisition, JobFilter
from balsam.store.owner import Owner

EXPIRED = "Session expired: job was stuck in RUNNING state"
ENDED = "Session ended while the job was RUNNING"
NOT_NAMED = "The launcher no longer knows of the job's run"
MAX_COUNTED = 100_000  # of the jobs that wait when a launcher ends
LONG_LARGE_FIRST = "long_large_first"


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a session lives without a heartbeat; `vouched_sec` while the agent sees its allocation run."""

    sec: float
    vouched_sec: float


def open_session(tx: Tx, owner: Owner, want: SessionCreate) -> dict[str, Any]:
    if sites.get(tx.conn, owner, want.site_id) is None:
        raise Invalid(f"No site with ID {want.site_id}")
    if want.batch_job_id is not None:
        batch_job = batch_jobs.get(tx.conn, owner, want.batch_job_id)
        if batch_job is None or batch_job["site_id"] != want.site_id:
            raise Invalid(f"No batch_job with id {want.batch_job_id}")
    if not want.fenced and want.batch_job_id is None:
        # A published agent makes workdirs and fetches results in hooks, those that an app lacks included.
        apps.forget_hooks(tx.conn, owner, want.site_id)
    now = now_us()
    values = want.model_dump(mode="json", exclude={"started"})
    values |= {"heartbeat": now, "started": min(now, to_us(want.started)) if want.started else now}
    session = sessions.create(tx.conn, owner, values)
    messages.drain_with_its_allocation(tx, owner, session)
    return session


def renew(tx: Tx, owner: Owner, session_id: int, **told: Any) -> dict[str, Any]:
    """The live session, its lease renewed; `told`: other columns that it sets."""
    session = sessions.beat(tx.conn, owner, session_id, now_us(), **told)
    if session is None:
        raise NotFound("Not found")
    return session


def acquire(tx: Tx, owner: Owner, session: dict[str, Any], want: SessionAcquire) -> list[dict[str, Any]]:
    """Takes free jobs for a live session; their rows, in the order in which they are to run."""
    asked = Acquisition(
        site_id=session["site_id"],
        states=want.states,
        max_num_jobs=want.max_num_jobs,
        max_wall_time_min=want.max_wall_time_min,
        max_nodes_per_job=want.max_nodes_per_job,
        gpus_per_node=want.gpus_per_node,
        mem_mb_per_node=want.mem_mb_per_node,
        max_aggregate_nodes=want.max_aggregate_nodes,
        serial_only=want.serial_only,
        long_large_first=want.sort_by == LONG_LARGE_FIRST,
        tags=want.filter_tags,
        app_ids=want.app_ids,
    )
    states = sorted(want.states)

    def free() -> list[dict[str, Any]]:
        return [row for state in states for row in jobs.acquirable(tx.conn, owner, asked, state)]

    found = free()
    if not found and any(jobs.await_acquirable(tx.conn, owner, asked, state) for state in states):
        found = free()
    found.sort(key=_long_large_first if asked.long_large_first else _order)
    chosen = within_nodes(found[: want.max_num_jobs], want.max_aggregate_nodes)
    held = jobs.hold(tx.conn, owner, session["id"], session["batch_job_id"], chosen)
    place = {job_id: number for number, job_id in enumerate(chosen)}
    return sorted(held, key=lambda row: place[row["id"]])


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        -row["priority"],
        row["num_nodes"],
        -row["node_packing_count"],
        -row["wall_time_min"],
        row["id"],
    )


def _long_large_first(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        -row["priority"],
        -row["wall_time_min"],
        -row["num_nodes"],
        -row["node_packing_count"],
        row["id"],
    )


def within_nodes(rows: Collection[dict[str, Any]], limit: float | None) -> list[int]:
    """Ids of the first rows that together fit on `limit` nodes; a row that does not fit is passed over."""
    if limit is None:
        return [row["id"] for row in rows]
    chosen, used = [], 0.0
    for row in rows:
        weight = node_weight(row["num_nodes"], row["node_packing_count"])
        if used + weight <= limit + 1e-9:
            chosen.append(row["id"])
            used += weight
    return chosen


def tick(tx: Tx, owner: Owner, session_id: int, beat: SessionTick) -> dict[str, Any]:
    """Renews the lease; frees what the session does not name; tells which of those it names are its own."""
    told = beat.model_dump(include={"busy", "trouble", "clock_ahead_us"}, exclude_none=True)
    renew(tx, owner, session_id, **told)
    answer: dict[str, Any] = {"in_step": True, "job_ids": None, "server_time_us": now_us()}
    if beat.job_ids is not None:
        held = jobs.held(tx.conn, owner, session_id)
        _let_go(tx, owner, session_id, held, set(held) - set(beat.job_ids), NOT_NAMED)
        answer["job_ids"] = sorted(set(held) & set(beat.job_ids))
    elif beat.digest is not None:
        answer["in_step"] = beat.digest == digest.of_ids(jobs.held(tx.conn, owner, session_id))
    return answer


def tell_ending(tx: Tx, owner: Owner, session_id: int, told: SessionEnding) -> None:
    """Keeps why a launcher ended, and how many jobs that it would have taken wait at this moment."""
    session = sessions.get(tx.conn, owner, session_id)
    if session is None:
        raise NotFound("Not found")
    tags = (session["takes"] or {}).get("filter_tags") or None
    ready = JobFilter(site_id=[session["site_id"]], state=list(RUNNABLE_STATES), tags=tags)
    waiting = jobs.count(tx.conn, owner, ready, limit=MAX_COUNTED)
    ending = {**told.model_dump(mode="json"), "waiting": waiting}
    sessions.tell_ending(tx.conn, owner, session_id, ending)


def tell_death(tx: Tx, owner: Owner, session_id: int, job_id: int) -> None:
    """A launcher is dead, and this is the job that it was preparing or starting."""
    if sessions.get(tx.conn, owner, session_id) is None:
        raise NotFound("Not found")
    advance.count_death(tx, owner, session_id, job_id)


def end(tx: Tx, owner: Owner, session_id: int, ended: int | None = None) -> None:
    """Ends a lease: RUNNING jobs go RUN_TIMEOUT, the others are free in the state in which they are."""
    if not sessions.end(tx.conn, owner, session_id, ended or now_us()):
        raise NotFound("Not found")
    _release_all(tx, owner, session_id, ENDED, ended)


def end_of(started: int, heartbeat: int, told: int, now: int) -> int:
    """When a session ended whose allocation is told to have ended: by its site's clock, which may be off.

    Not after now; and who was heard of more than a lease after that end was there until then.
    """
    lived = heartbeat if heartbeat - told > LEASE_SEC * 1e6 else started
    return min(now, max(lived, told))


def end_of_batch_jobs(
    tx: Tx, owner: Owner, ends: dict[int, int], message: str, *, lived_before: int | None = None
) -> None:
    """The agent saw these allocations end (at microseconds): their leases end at once.

    `lived_before`: only of launchers that had started by then, where the allocation itself lives again.
    """
    for row in sessions.of_batch_jobs(tx.conn, owner, ends.keys()):
        if lived_before is not None and row["started"] >= lived_before:
            continue
        ended = end_of(row["started"], row["heartbeat"], ends[row["batch_job_id"]], now_us())
        sessions.end(tx.conn, owner, row["id"], ended)
        _release_all(tx, owner, row["id"], message, ended)


def _release_all(tx: Tx, owner: Owner, session_id: int, message: str, at: int | None) -> None:
    held = jobs.held(tx.conn, owner, session_id)
    _let_go(tx, owner, session_id, held, held.keys(), message, at)


def _let_go(
    tx: Tx,
    owner: Owner,
    session_id: int,
    held: dict[int, JobState],
    ids: Collection[int],
    message: str,
    at: int | None = None,
) -> None:
    running = [job_id for job_id in ids if held[job_id] is JobState.running]
    advance.move(tx, owner, running, JobState.run_timeout, {"message": message}, at)
    # Those of the killed that ran have failed by now and are nobody's any more.
    for job_id, by in kills.held(tx.conn, owner, session_id).items():
        if job_id in ids:
            advance.move(tx, owner, [job_id], JobState.failed, killed_data(by), at)
    jobs.free(tx.conn, owner, session_id, ids)
    session = sessions.get(tx.conn, owner, session_id)
    if session is not None and ids:
        # Freed jobs have no event, and yet launchers that wait for work must hear of them.
        tx.changed(owner.user_id, "freed", session["site_id"])


def overdue(db: Database, lease: Lease, up_since: int) -> list[dict[str, Any]]:
    """The sessions, of whichever owner, whose leases have run out.

    `up_since`: since when server and database have been up without a break. Time before that does not age
    a lease, since nobody could have renewed it.
    """
    now = now_us()
    with db.glance() as conn:
        silent = sessions.silent(conn, int(now - lease.sec * 1e6))
    found = []
    for row in silent:
        vouched = sessions.vouched(row, now, int(lease.sec * 1e6))
        period = lease.vouched_sec if vouched else lease.sec
        if now - max(row["heartbeat"], up_since) >= period * 1e6:
            found.append(row)
    return found


def expire(db: Database, session: dict[str, Any]) -> bool:
    """Ends an overdue session and frees its jobs, unless it has been heard of meanwhile."""
    owner = Owner(session["owner_id"])
    with db.write() as tx:
        if not sessions.expire(tx.conn, owner, session["id"], session["heartbeat"]):
            return False
        _release_all(tx, owner, session["id"], EXPIRED, session["heartbeat"])
    return True
