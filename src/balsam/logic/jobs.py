"""Creating, changing and deleting jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from balsam.core.clock import now_us
from balsam.core.errors import Invalid, NotFound
from balsam.core.plural import beyond
from balsam.core.states import DONE_STATES, JobState, ParentsMust, TransferDirection, TransferItemState
from balsam.logic import advance
from balsam.logic.moves import Situation, first_state, walk
from balsam.logic.submission import Terms, doubt, stages_nothing
from balsam.schemas.jobs import JobCreate, JobUpdate
from balsam.store import apps, events, ids, jobs, sites, tables, transfers
from balsam.store.apps import AppFilter
from balsam.store.database import Tx
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.sites import SiteFilter

J = JobState


def create(
    tx: Tx, owner: Owner, wanted: Sequence[JobCreate], *, strict: bool = False
) -> list[dict[str, Any]]:
    """All of the jobs or none; returns their rows in the order of the request.

    `strict`: refuses jobs that can't do what they are for.
    """
    if not wanted:
        return []
    app_of = _apps(tx, owner, wanted)
    parent_state = _parents(tx, owner, wanted)
    terms = _terms(tx, owner, app_of)
    job_ids = ids.allocate(tx.conn, tables.jobs, len(wanted))
    hooks_of = {app_id: _hooks(app) for app_id, app in app_of.items()}
    now = now_us()
    items, events_ = list[dict[str, Any]](), list[tuple[Any, ...]]()
    road = cache(_road)

    def new_jobs() -> Iterator[dict[str, Any]]:
        for index, (job_id, want) in enumerate(zip(job_ids, wanted, strict=True)):
            app = app_of[want.app_id]
            parents_done = not want.parent_ids or all(
                _is_done(parent_state[p], want.parents_must) for p in want.parent_ids
            )
            sentence = stages_nothing(terms[want.app_id], want.transfers) if strict else None
            if sentence:
                raise Invalid(_of_item(index, wanted, sentence))
            try:
                job_items = _transfer_items(owner, job_id, want, app, terms[want.app_id], parents_done)
            except Invalid as exc:
                raise Invalid(_of_item(index, wanted, exc.sentence)) from None
            directions = frozenset(item["direction"] for item in job_items)
            moves = road(hooks_of[want.app_id], directions, parents_done)
            site_id = app["site_id"]
            for old, new, data in moves:
                events_.append((owner.user_id, site_id, job_id, None, now, now, now, old, new, data))
            job = row(owner, job_id, want, site_id, moves[-1][1], now)
            sentence = doubt(terms[want.app_id], job, want.transfers) if strict else None
            if sentence:
                raise Invalid(_of_item(index, wanted, sentence))
            items.extend(job_items)
            yield job

    # One by one: PostgreSQL inserts the first while the next are looked at.
    rows = jobs.insert_many(tx.conn, new_jobs())
    transfers.insert_many(tx.conn, items)
    events.insert_many(tx.conn, events_, ids.allocate(tx.conn, tables.events, len(events_)))
    tx.num_events += len(events_)
    for site_id in {row["site_id"] for row in rows}:
        tx.changed(owner.user_id, "events", site_id)
    return rows


def _of_item(index: int, wanted: Sequence[JobCreate], sentence: str) -> str:
    """The sentence with which of the jobs is the reason that none is created."""
    where = f"item {index} (workdir {wanted[index].workdir}): " if len(wanted) > 1 else ""
    return where + sentence


def _apps(tx: Tx, owner: Owner, wanted: Sequence[JobCreate]) -> dict[int, dict[str, Any]]:
    app_ids = {want.app_id for want in wanted}
    found = {row["id"]: row for row in apps.lock(tx.conn, owner, AppFilter(id=app_ids))}
    missing = sorted(app_ids - found.keys())
    if missing:
        first = next(i for i, want in enumerate(wanted) if want.app_id in missing)
        sentence = (
            "Could not find one or more Apps. Double check app_id fields. "
            f"Unknown: {missing[:10]}{beyond(len(missing), 10)}"
        )
        raise NotFound(_of_item(first, wanted, sentence))
    return found


def _parents(tx: Tx, owner: Owner, wanted: Sequence[JobCreate]) -> dict[int, JobState]:
    parent_ids = {parent for want in wanted for parent in want.parent_ids}
    states = jobs.parent_states(tx.conn, owner.everywhere, parent_ids, locked=True)
    missing = sorted(parent_ids - states.keys())
    if missing:
        first = next(i for i, want in enumerate(wanted) if not want.parent_ids.isdisjoint(missing))
        sentence = (
            "Could not find one or more Jobs set as parents. Double check parent_ids fields. "
            f"Unknown: {missing[:10]}{beyond(len(missing), 10)}"
        )
        raise NotFound(_of_item(first, wanted, sentence))
    return states


def _terms(tx: Tx, owner: Owner, app_of: Mapping[int, dict[str, Any]]) -> dict[int, Terms]:
    site_ids = {app["site_id"] for app in app_of.values()}
    site_of = {row["id"]: row for row in sites.page(tx.conn, owner, SiteFilter(id=site_ids), Page())}
    return {app_id: Terms.of(app, site_of[app["site_id"]]) for app_id, app in app_of.items()}


def _is_done(state: JobState, must: ParentsMust) -> bool:
    return state in DONE_STATES if must is ParentsMust.end else state is J.job_finished


def _transfer_items(
    owner: Owner, job_id: int, want: JobCreate, app: dict[str, Any], terms: Terms, parents_done: bool
) -> list[dict[str, Any]]:
    rows = []
    for name, item in want.transfers.items():
        slot = app["transfers"].get(name)
        if slot is None:
            raise Invalid(f"App {app['name']} has no Transfer slot named {name}")
        if item.location_alias not in terms.locations:
            raise Invalid(f"Site has no Transfer URL named {item.location_alias}")
        stage_in = slot["direction"] == TransferDirection.stage_in
        waits = TransferItemState.awaiting_job
        rows.append(
            {
                "owner_id": owner.user_id,
                "site_id": app["site_id"],
                "job_id": job_id,
                "direction": slot["direction"],
                "local_path": slot["local_path"],
                "remote_path": item.path,
                "location_alias": item.location_alias,
                "recursive": slot.get("recursive", False),
                "required": slot["required"],
                "state": TransferItemState.pending if stage_in and parents_done else waits,
                "task_id": "",
                "transfer_info": {},
            }
        )
    return rows


def _hooks(app: Mapping[str, Any]) -> frozenset[str] | None:
    return None if app["hooks"] is None else frozenset(app["hooks"])


def _road(
    hooks: frozenset[str] | None, directions: frozenset[str], parents_done: bool
) -> list[tuple[JobState, JobState, dict[str, Any]]]:
    """(old state, new state, data) of a new job's first events."""
    stages_in, stages_out = (
        TransferDirection.stage_in in directions,
        TransferDirection.stage_out in directions,
    )
    situation = Situation(hooks, stages_in, stages_out, 0, 0)
    steps = walk(first_state(parents_done, stages_in), {}, situation)
    states = [J.created, *(step.state for step in steps)]
    data: list[dict[str, Any]] = [{}, *(step.data for step in steps[1:])]
    return list(zip(states[:-1], states[1:], data, strict=True))


def row(
    owner: Owner, job_id: int, want: JobCreate, site_id: int, state: JobState, now: int
) -> dict[str, Any]:
    """A new job as it is stored."""
    return {
        "id": job_id,
        "owner_id": owner.user_id,
        "site_id": site_id,
        "app_id": want.app_id,
        "session_id": None,
        "batch_job_id": None,
        "num_runs": 0,
        "state": state,
        "state_since": now,
        "last_update": now,
        "workdir": want.workdir,
        "tags": want.tags,
        "parent_ids": sorted(want.parent_ids),
        "serialized_parameters": want.serialized_parameters,
        "serialized_return_value": "",
        "serialized_exception": "",
        "parameters_json": want.parameters_json,
        "serializer": want.serializer.model_dump() if want.serializer else None,
        "data": want.data,
        "return_code": want.return_code,
        "num_nodes": want.num_nodes,
        "ranks_per_node": want.ranks_per_node,
        "threads_per_rank": want.threads_per_rank,
        "threads_per_core": want.threads_per_core,
        "launch_params": want.launch_params,
        "gpus_per_rank": want.gpus_per_rank,
        "mem_mb_per_rank": want.mem_mb_per_rank,
        "node_packing_count": want.node_packing_count,
        "wall_time_min": want.wall_time_min,
        "priority": want.priority,
        "parents_must": want.parents_must,
        "max_restarts": want.max_restarts,
        "pending_file_cleanup": True,
        "killed_by": None,
        "launcher_deaths": 0,
    }


def change_matching(
    tx: Tx, owner: Owner, f: JobFilter, update: JobUpdate, session_id: int | None
) -> tuple[int, list[advance.Refusal]]:
    """The same change for every job that the filter chooses; all of the owner's where it chooses nothing.

    To how many it was applied, and the refusals of the others.
    """
    updates = [(job_id, update) for job_id in jobs.lock_matching(tx.conn, owner, f)]
    refused = advance.apply(tx, owner, updates, session_id)
    return len(updates) - len(refused), refused


def remove_matching(tx: Tx, owner: Owner, f: JobFilter) -> int:
    """Deletes jobs with their events; children keep the id, and `why` tells them that it is gone."""
    return remove(tx, owner, jobs.lock_matching(tx.conn, owner, f))


def remove(tx: Tx, owner: Owner, job_ids: Collection[int]) -> int:
    """Deletes these jobs; how many there were."""
    tx.changed(owner.user_id, "jobs", owner.site_id or 0)
    return jobs.remove(tx.conn, owner, job_ids)


def remove_app(tx: Tx, owner: Owner, app_id: int) -> int:
    """Deletes an app with its jobs; the id of its site."""
    locked = apps.lock(tx.conn, owner, AppFilter(id=[app_id]), to_remove=True)
    if not locked:
        raise NotFound("Not found")
    remove_matching(tx, owner, JobFilter(app_id=[app_id]))
    apps.remove(tx.conn, owner, app_id)
    return int(locked[0]["site_id"])


def remove_site(tx: Tx, owner: Owner, site_id: int) -> None:
    """Deletes a site with its apps, jobs, allocations and tokens."""
    if not sites.lock_to_remove(tx.conn, owner, site_id):
        raise NotFound("Not found")
    apps.lock(tx.conn, owner, AppFilter(site_id=[site_id]), to_remove=True)
    remove_matching(tx, owner, JobFilter(site_id=[site_id]))
    sites.remove(tx.conn, owner, site_id)
    tx.changed(owner.user_id, "tokens", site_id)
