"""Changing jobs: fields and states, item by item, whatever fields each item has.

A state, its event and its run row change in one transaction, and so do the further moves that need nobody:
hooks that the app does not have, children whose last parent is done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from balsam.core.clock import now_us, to_us
from balsam.core.limits import MAX_FUTURE_STAMP_SEC
from balsam.core.plural import counted
from balsam.core.resources import node_weight
from balsam.core.states import DONE_STATES, RUN_END_STATES, RUNNABLE_STATES, JobState, TransferDirection
from balsam.logic.moves import Request, Situation, Step, fenced_off, refusal, walk
from balsam.logic.signature import signature_of
from balsam.schemas.jobs import INT32, JobUpdate
from balsam.store import batch_jobs, ids, jobs, runs, sessions, tables, transfers
from balsam.store import events as event_store
from balsam.store.database import Tx
from balsam.store.owner import Owner

WORTH_NOTING_US = 5_000_000  # by which a clock is ahead
J = JobState
# Fields of an update that are not columns of the job.
_ABOUT_STATE = {"id", "state", "state_timestamp", "state_data"}


class Refusal(NamedTuple):
    """The update at `place` was refused, and has changed nothing."""

    place: int
    job_id: int
    reason: str


@dataclass(slots=True)
class _Writes:
    """What one transaction gathers before it writes in bulk."""

    now: int
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    tags: dict[int, Mapping[str, str]] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    # Of runs, by job; the ids of events are their places among `events` until those have ids.
    starts: dict[int, dict[str, Any]] = field(default_factory=dict)
    ends: list[dict[str, Any]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    waiting_anew: list[int] = field(default_factory=list)
    made_to_wait: list[int] = field(default_factory=list)
    to_stage_in: list[int] = field(default_factory=list)
    to_stage_out: list[int] = field(default_factory=list)
    started: set[int] = field(default_factory=set)

    def change(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Changes columns of a job; whatever comes after this in the transaction sees them so."""
        row.update(values)
        self.jobs.setdefault(row["id"], {"id": row["id"], "last_update": self.now}).update(values)


def apply(
    tx: Tx, owner: Owner, updates: Sequence[tuple[int, JobUpdate]], session_id: int | None = None
) -> list[Refusal]:
    """Applies (job id, update) in their order; the refused ones change nothing, and are answered.

    A job may occur several times: each update is judged by what the one before it left, as if it were a
    request of its own.
    """
    rows = {row["id"]: row for row in jobs.lock(tx.conn, owner, {job_id for job_id, _ in updates})}
    view = _View.of(tx, owner, rows.values())
    allocations = {update.batch_job_id for _, update in updates} - {None}
    known = batch_jobs.existing_ids(tx.conn, owner, allocations) if allocations else set()
    writes = _Writes(now_us())
    refused: list[Refusal] = []
    for place, (job_id, update) in enumerate(updates):
        row, wanted = rows.get(job_id), update.batch_job_id
        if row is None:
            reason: str | None = f"job {job_id} does not exist"
        elif wanted is not None and wanted not in known:
            reason = f"job {job_id}: there is no BatchJob {wanted}"
        else:
            reason = _change(row, update, session_id, view, writes)
        if reason is not None:
            refused.append(Refusal(place, job_id, reason))
    _write(tx, owner, view, writes)
    return refused


@dataclass(frozen=True, slots=True)
class _View:
    """What the moves of these jobs depend on beside their own rows."""

    may_force: bool
    fenced: Mapping[int, bool]
    staging: jobs.Staging

    @classmethod
    def of(cls, tx: Tx, owner: Owner, rows: Collection[dict[str, Any]]) -> _View:
        holders = {row["session_id"] for row in rows} - {None}
        return cls(
            may_force=owner.site_id is None,
            fenced=sessions.fenced_among(tx.conn, owner, holders) if holders else {},
            staging=jobs.staging(tx.conn, owner, [row["id"] for row in rows]),
        )

    def stages_out(self, job_id: int, writes: _Writes) -> bool:
        """Whether files are still to go; a new run makes all of them anew."""
        return job_id in (self.staging.outputs if job_id in writes.started else self.staging.still_out)

    def situation(self, row: dict[str, Any], num_runs: int, forced: bool, writes: _Writes) -> Situation:
        return Situation(
            hooks=row["hooks"],
            stages_in=row["id"] in self.staging.still_in,
            stages_out=self.stages_out(row["id"], writes),
            # Whoever forces a job to run again means it, however often it has run.
            num_runs=0 if forced else num_runs,
            max_restarts=row["max_restarts"],
            killed_by=row["killed_by"],
        )


def _change(
    row: dict[str, Any], update: JobUpdate, session_id: int | None, view: _View, writes: _Writes
) -> str | None:
    values = _columns(update)
    new = update.state
    holder = row["session_id"] if row["session_id"] in view.fenced else None
    fenced = None if holder is None else view.fenced[holder]
    request = Request(holder, fenced, session_id, view.may_force)
    reason = fenced_off(row["id"], request)
    if reason is not None:
        return reason
    if new is not None and new != row["state"]:
        reason = refusal(row["id"], J(row["state"]), new, request) or _still_staging(
            row, new, holder, view, writes
        )
        if reason is not None:
            return reason
        stamp = writes.now if update.state_timestamp is None else to_us(update.state_timestamp)
        data = dict(update.state_data or {})
        if row["session_id"] is not None and stamp > writes.now:
            # Somebody runs it whose clock is ahead: refused, the job would run again, and no better.
            data |= _clock_note(stamp - writes.now)
            stamp = writes.now
        elif stamp > writes.now + MAX_FUTURE_STAMP_SEC * 1e6:
            return f"job {row['id']}: state_timestamp is more than 5 minutes in the future"
        if row["session_id"] is not None:
            stamp = _in_order(stamp, row)
        if holder is None:
            data["forced"] = True
        values |= _moves(row, new, data, stamp, view, writes, values.get("return_code"))
        if new is J.ready:
            writes.to_stage_in.append(row["id"])
    if "tags" in values:
        writes.tags[row["id"]] = values["tags"]
    if new is J.awaiting_parents:
        writes.made_to_wait.append(row["id"])
    if "parents_must" in values or new is J.awaiting_parents:
        writes.waiting_anew.append(row["id"])
    if values:
        writes.change(row, values)
    return None


def _in_order(stamp: int, row: dict[str, Any]) -> int:
    """A holder's stamp: not before its job's last move, which another host may have stamped.

    No two clocks agree in full, and one may be set meanwhile. A start of many minutes before is a history
    that somebody writes down afterwards.
    """
    late_us = row["state_since"] - stamp
    is_history = late_us > MAX_FUTURE_STAMP_SEC * 1e6 and row["state"] != J.running
    return stamp if is_history else max(stamp, row["state_since"])


def _clock_note(ahead_us: int) -> dict[str, str]:
    """What an event's data say of a stamp that was replaced by the server's time."""
    if ahead_us < WORTH_NOTING_US:
        return {}
    return {
        "clock": f"stamped {ahead_us / 1e6:.0f} s ahead of the server's clock: the server's time is taken"
    }


def _still_staging(
    row: dict[str, Any], new: JobState, holder: int | None, view: _View, writes: _Writes
) -> str | None:
    """Why a holder may not say that files are there when they are not, or None."""
    still_in = new is J.staged_in and row["id"] in view.staging.still_in
    still_out = new is J.staged_out and view.stages_out(row["id"], writes)
    if holder is None or not (still_in or still_out):
        return None
    return f"job {row['id']} can't go to {new}: not all of its files are transferred"


def _columns(update: JobUpdate) -> dict[str, Any]:
    """The columns that a request sets; what it sends as null is not set, but for the return code."""
    sent = {name: getattr(update, name) for name in update.model_fields_set - _ABOUT_STATE}
    values = {key: value for key, value in sent.items() if value is not None or key == "return_code"}
    if "serialized_parameters" in values:
        # New parameters that came without their JSON form: the old one must not shadow them.
        values.setdefault("parameters_json", None)
    return values


def _moves(
    row: dict[str, Any],
    new: JobState,
    data: dict[str, Any],
    stamp: int,
    view: _View,
    writes: _Writes,
    return_code: int | None = None,
) -> dict[str, Any]:
    """Gathers the events and run rows of all the steps; returns the job's columns that they change."""
    held = row["session_id"] if row["session_id"] in view.fenced else None
    num_runs = row["num_runs"] + (new is J.running and held is not None)
    if new is J.running:
        data["num_nodes"] = node_weight(row["num_nodes"], row["node_packing_count"])
    data = {**data, "returncode": _code(data["returncode"])} if "returncode" in data else data
    state, since = J(row["state"]), row["state_since"]
    forced = bool(data.get("forced"))
    for step in walk(new, data, view.situation(row, num_runs, forced, writes), state):
        place = len(writes.events)
        writes.events.append(_event(row, state, step, stamp, since, writes.now))
        if state is J.running:
            end = _run_end(step, stamp, step.data.get("returncode", return_code), place)
            started = writes.starts.get(row["id"])
            if started is not None:  # in this very transaction
                started.update(end)
            else:
                writes.ends.append({"job_id": row["id"], **end})
        if step.state is J.running and held is not None:
            writes.starts[row["id"]] = _run_start(row, step, stamp, num_runs, held, place)
        state, since = step.state, stamp
    if state in DONE_STATES:
        writes.done.append(row["id"])
    if state is J.postprocessed:
        writes.to_stage_out.append(row["id"])
    if new is J.running:
        writes.started.add(row["id"])
    columns: dict[str, Any] = {"state": state, "state_since": stamp}
    columns["session_id"] = held if state is J.running else None
    columns["num_runs"] = num_runs
    if row["killed_by"] is not None and state in DONE_STATES:
        columns["killed_by"] = None
    if row["launcher_deaths"]:
        columns["launcher_deaths"] = 0
    if new in RUN_END_STATES and return_code is None and data.get("returncode") is not None:
        columns["return_code"] = data["returncode"]
    return columns


def _event(
    row: dict[str, Any], state: JobState, step: Step, stamp: int, since: int, now: int
) -> tuple[Any, ...]:
    """As `store.events.insert_many` takes it."""
    whose = (row["owner_id"], row["site_id"], row["id"], row["batch_job_id"])
    return (*whose, stamp, now, since, state, step.state, step.data)


_TO_STATE = -2  # its place in that


def _run_start(
    row: dict[str, Any], step: Step, stamp: int, attempt: int, session_id: int, event: int
) -> dict[str, Any]:
    nodes = step.data.get("nodes")
    return {
        "owner_id": row["owner_id"],
        "site_id": row["site_id"],
        "job_id": row["id"],
        "attempt": attempt,
        "app_version": _version(row, step),
        "batch_job_id": row["batch_job_id"],
        "session_id": session_id,
        "nodes": nodes if isinstance(nodes, list) else [],
        "cpus": _number(step.data.get("cpus")),
        "gpus": _number(step.data.get("gpus")),
        "num_nodes": step.data["num_nodes"],
        "start": stamp,
        "start_event_id": event,
        **dict.fromkeys(runs.END),
    }


def _run_end(step: Step, stamp: int, code: Any, event: int) -> dict[str, Any]:
    """Its columns: `runs.END`."""
    failed = step.state is J.run_error
    signature = signature_of(step.data, _code(code)) if failed else None
    values = (stamp, step.state.value, _code(code), signature, event)
    return dict(zip(runs.END, values, strict=True))


def _version(row: dict[str, Any], step: Step) -> int | None:
    """The version of its app that a run runs, as its launcher says; published ones do not."""
    told = step.data.get("app_version")
    if type(told) is int and 0 < told <= row["newest_version"]:
        return told
    return 1 if row["newest_version"] == 1 else None  # else it may have loaded any of them


def _number(value: Any) -> float | None:
    """What a launcher says that a run was given; whatever no node can have counts as not said."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= INT32 else None


def _code(value: Any) -> int | None:
    return value if type(value) is int and abs(value) <= INT32 else None  # true is no code


def _write(tx: Tx, owner: Owner, view: _View, writes: _Writes) -> None:
    event_ids = ids.allocate(tx.conn, tables.events, len(writes.events)) if writes.events else []
    for site_id in {event[1] for event in writes.events}:
        tx.changed(owner.user_id, "events", site_id)
    tx.moves.update(event[_TO_STATE] for event in writes.events)
    tx.num_events += len(writes.events)
    for run in (*writes.starts.values(), *writes.ends):
        for name in ("start_event_id", "end_event_id"):
            if run.get(name) is not None:
                run[name] = event_ids[run[name]]
    jobs.change_many(tx.conn, owner, list(writes.jobs.values()))
    if writes.tags:
        jobs.set_tags(tx.conn, owner, writes.tags)
    event_store.insert_many(tx.conn, writes.events, event_ids)
    runs.start_many(tx.conn, list(writes.starts.values()))
    runs.end_many(tx.conn, owner, writes.ends)
    anew = writes.started & view.staging.outputs
    if anew:
        transfers.rewind(tx.conn, owner, anew)
    if writes.to_stage_in:
        transfers.activate(tx.conn, owner, writes.to_stage_in, TransferDirection.stage_in)
    if writes.to_stage_out:
        transfers.activate(tx.conn, owner, writes.to_stage_out, TransferDirection.stage_out)
    if writes.done or writes.waiting_anew:
        _release_children(tx, owner, writes)


def _release_children(tx: Tx, owner: Owner, ended: _Writes) -> None:
    """Moves on the jobs that waited for those that ended and now wait for nobody.

    The children are locked before their parents' states are read: of two transactions that each end one
    of a child's last two parents, the second then sees both. One that ends a parent does not find a job that
    is only now made to wait for it, so these wait for that one.
    """
    everybody = owner.everywhere
    if ended.made_to_wait:
        jobs.lock_parents(tx.conn, everybody, ended.made_to_wait)
    waiting = jobs.waiting_children(tx.conn, everybody, ended.done) + ended.waiting_anew
    ready = jobs.with_all_parents_done(tx.conn, everybody, waiting) if waiting else []
    rows = [row for row in jobs.lock(tx.conn, everybody, ready) if row["state"] == J.awaiting_parents]
    if not rows:
        return
    transfers.activate(tx.conn, everybody, [row["id"] for row in rows], TransferDirection.stage_in)
    view = _View.of(tx, everybody, rows)
    writes = _Writes(now_us())
    for row in rows:
        stages_in = row["id"] in view.staging.still_in
        new = J.ready if stages_in else J.staged_in
        message = "All parents finished" if stages_in else "Skipped stage in"
        writes.change(row, _moves(row, new, {"message": message}, writes.now, view, writes))
    _write(tx, everybody, view, writes)


def count_death(tx: Tx, owner: Owner, session_id: int, job_id: int) -> None:
    """A launcher died while it prepared or started this job, of which it had reported no start.

    It counts as one of the job's runs, so that `max_restarts` ends one that kills whoever takes it.
    """
    for row in jobs.lock(tx.conn, owner, [job_id]):
        if row["state"] not in RUNNABLE_STATES or row["session_id"] not in (None, session_id):
            return  # somebody got on with it
        deaths = row["launcher_deaths"] + 1
        jobs.change_many(tx.conn, owner, [{"id": job_id, "launcher_deaths": deaths}])
        if row["num_runs"] + deaths > row["max_restarts"]:
            died = f"{counted(deaths, 'launcher')} died while preparing or starting this job"
            ran = f"; it ran {counted(row['num_runs'], 'time')}" if row["num_runs"] else ""
            reason = f"{died}{ran}: max_restarts is {row['max_restarts']}"
            move(tx, owner, [job_id], J.failed, {"message": reason})


def move(
    tx: Tx,
    owner: Owner,
    job_ids: Collection[int],
    new: JobState,
    data: dict[str, Any],
    at: int | None = None,
) -> None:
    """The server's own move of jobs: a lease that ran out, transfers that ended.

    `at`: when it happened, if that was before now; never before the job's state was entered.
    """
    rows = jobs.lock(tx.conn, owner, job_ids)
    view = _View.of(tx, owner, rows)
    writes = _Writes(now_us())
    for row in rows:
        stamp = max(row["state_since"], min(at or writes.now, writes.now))
        writes.change(row, _moves(row, new, dict(data), stamp, view, writes))
    _write(tx, owner, view, writes)
