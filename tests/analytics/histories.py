"""Random histories of jobs: what a server may have written, with all that clocks and people do to it.

Jobs restart and overlap, ends are missing, stamps of machines disagree and coincide, and rows of different
jobs lie in any order. Times are whole seconds since `ZERO`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from balsam.core.resources import node_weight
from balsam.core.states import JobState
from balsam.logic.signature import failure_signature
from balsam.store import tables, users
from balsam.store.database import Database
from balsam.store.owner import Owner

J = JobState
ZERO = 1_790_000_000_000_000
LAST = 60  # stamps lie in 0 .. LAST
NOW = ZERO + (LAST + 10) * 1_000_000
SITES, APPS, PROJECTS = ("lab", "peak"), ("Pack", "Sort"), ("alpha", "beta")
HOSTS = ("n1", "n2", "n3")
TAILS = ("out of memory at 0x1f", "no such file: /a/b/c.dat", "")


def us(second: int) -> int:
    return ZERO + second * 1_000_000


@dataclass
class Allocation:
    """`told`: its launcher was one of ours."""

    site: int
    project: str
    nodes: int
    start: int | None
    end: int | None
    told: bool
    id: int = 0


@dataclass
class Job:
    site: int
    app: int
    num_nodes: int
    packing: int
    tags: dict[str, str]
    moves: list[Move] = field(default_factory=list)
    id: int = 0

    @property
    def weight(self) -> float:
        return node_weight(self.num_nodes, self.packing)

    @property
    def state(self) -> JobState:
        return self.moves[-1].new if self.moves else J.created


@dataclass
class Move:
    """`order` places the event among those of all jobs; `at` is what its maker's clock said."""

    new: JobState
    at: int
    order: int
    data: dict[str, Any] = field(default_factory=dict)
    allocation: int | None = None
    id: int = 0


@dataclass
class History:
    jobs: list[Job]
    allocations: list[Allocation]


seconds = st.integers(0, LAST)
allocations = st.builds(
    Allocation,
    site=st.integers(0, 1),
    project=st.sampled_from(PROJECTS),
    nodes=st.integers(1, 4),
    start=st.none() | seconds,
    end=st.none() | seconds,
    told=st.booleans(),
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    made = draw(st.lists(allocations, max_size=3))
    return History(draw(st.lists(_jobs(len(made)), max_size=5)), made)


@st.composite
def _jobs(draw: st.DrawFn, num_allocations: int) -> Job:
    job = Job(
        site=draw(st.integers(0, 1)),
        app=draw(st.integers(0, 1)),
        num_nodes=draw(st.sampled_from([1, 1, 2, 4])),
        packing=draw(st.sampled_from([1, 2, 3])),
        tags=draw(st.dictionaries(st.sampled_from(["size", "kind"]), st.sampled_from(["1", "10", "x"]))),
    )
    states = [J.staged_in, J.preprocessed][: draw(st.integers(0, 2))]
    if len(states) == 2:
        for _ in range(draw(st.integers(0, 3))):
            states += [J.running, draw(st.sampled_from([J.run_timeout, J.run_error])), J.restart_ready]
        states += draw(
            st.sampled_from(
                [
                    [],
                    [J.running],
                    [J.running, J.run_done],
                    [J.running, J.run_done, J.job_finished],
                    [J.running, J.run_error, J.failed],
                    [J.failed],
                ]
            )
        )
    job.moves = [_move(draw, state, num_allocations) for state in states]
    _order(job.moves)
    return job


def _move(draw: st.DrawFn, state: JobState, num_allocations: int) -> Move:
    move = Move(state, draw(seconds), draw(st.integers(0, 99)))
    if state is J.running:
        choices = [None, *range(num_allocations)]
        move.allocation = draw(st.sampled_from(choices))
        nodes = draw(st.lists(st.sampled_from(HOSTS), unique=True, max_size=2))
        move.data = {"nodes": nodes, "cpus": float(draw(st.integers(0, 3))), "gpus": 0.5}
    if state is J.run_error:
        move.data = {"returncode": draw(st.sampled_from([1, 137])), "error": draw(st.sampled_from(TAILS))}
    return move


def _order(moves: list[Move]) -> None:
    """A job's own events are written in their order, whatever happens between them."""
    for move, order in zip(moves, sorted(move.order for move in moves), strict=True):
        move.order = order


def others() -> History:
    """What another user has in the same database: names, tags and times as in all histories."""
    moves = [
        Move(J.staged_in, 0, 0),
        Move(J.preprocessed, 0, 1),
        Move(J.running, 5, 2, {"nodes": ["n1"], "cpus": 1.0, "gpus": 0.5}, 0),
        Move(J.run_error, 50, 3, {"returncode": 1, "error": TAILS[0]}),
        Move(J.restart_ready, 50, 4),
        Move(J.running, 55, 5, {"nodes": ["n2"], "cpus": 1.0, "gpus": 0.5}, 0),
    ]
    return History([Job(0, 0, 2, 1, {"size": "1"}, moves)], [Allocation(0, "alpha", 4, 0, 60, True)])


def write(db: Database, history: History) -> None:
    """The history, as that of a user of its own."""
    with db.write() as tx:
        _Writer(tx.conn, "somebody else").write(history)


@contextmanager
def written(db: Database, history: History) -> Iterator[tuple[Connection, Owner]]:
    """The history as a server holds it; gone afterwards."""
    with db.writers.connect() as conn, conn.begin() as transaction:
        try:
            writer = _Writer(conn, "me")
            writer.write(history)
            yield conn, Owner(writer.user)
        finally:
            transaction.rollback()


class _Writer:
    """Gathers rows with their ids, and inserts each table's at once."""

    _ids = itertools.count(1)

    def __init__(self, conn: Connection, name: str) -> None:
        self._conn = conn
        self.user = users.create(conn, name, None)
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, **values: Any) -> int:
        row = {"id": next(self._ids), "owner_id": self.user, **values}
        self._rows.setdefault(table, []).append(row)
        return int(row["id"])

    def last(self, table: str) -> dict[str, Any]:
        return self._rows[table][-1]

    def write(self, history: History) -> None:
        _add(self, history)
        for table, rows in self._rows.items():
            columns = tables.metadata.tables[table].c
            known = [{name: value for name, value in row.items() if name in columns} for row in rows]
            self._conn.execute(insert(tables.metadata.tables[table]), known)


def _add(writer: _Writer, history: History) -> None:
    empty: dict[str, Any] = {"queued_jobs": {}, "optional_batch_job_params": {}, "allowed_queues": {}}
    empty |= {"backfill_windows": {}, "allowed_projects": [], "transfer_locations": {}}
    times = {"last_refresh": 0, "creation_date": 0}
    sites = [writer.add("sites", name=name, path="/", **times, **empty) for name in SITES]
    apps = [[_app(writer, site, name) for name in APPS] for site in sites]
    for allocation in history.allocations:
        _add_allocation(writer, sites[allocation.site], allocation)
    for job in history.jobs:
        _add_job(writer, sites[job.site], apps[job.site][job.app], job)
    _add_events(writer, sites, history)


def _app(writer: _Writer, site: int, name: str) -> int:
    texts = {"serialized_class": "", "source_code": "", "description": ""}
    return writer.add("apps", site_id=site, name=name, parameters={}, transfers={}, isolate=False, **texts)


def _add_allocation(writer: _Writer, site: int, allocation: Allocation) -> None:
    start = None if allocation.start is None else us(allocation.start)
    end = None if allocation.end is None else us(allocation.end)
    allocation.id = writer.add(
        "batch_jobs",
        site_id=site,
        project=allocation.project,
        queue="q",
        num_nodes=allocation.nodes,
        wall_time_min=1,
        job_mode="mpi",
        optional_params={},
        filter_tags={},
        state="running",
        status_info={},
        start_time=start,
        end_time=end,
        created=ZERO,
    )
    if allocation.told and start is not None:
        writer.add(
            "sessions",
            site_id=site,
            batch_job_id=allocation.id,
            fenced=True,
            num_nodes=allocation.nodes,
            heartbeat=start,
            started=start,
            ended=end,
        )


def _add_job(writer: _Writer, site: int, app: int, job: Job) -> None:
    numbers = {"ranks_per_node": 1, "threads_per_rank": 1, "threads_per_core": 1, "gpus_per_rank": 0}
    numbers |= {"mem_mb_per_rank": 0, "wall_time_min": 0, "priority": 0, "max_restarts": 50}
    job.id = writer.add(
        "jobs",
        site_id=site,
        app_id=app,
        state=job.state.value,
        state_since=ZERO,
        last_update=ZERO,
        workdir="w",
        tags=job.tags,
        parent_ids=[],
        serialized_parameters="",
        data={},
        num_nodes=job.num_nodes,
        launch_params={},
        node_packing_count=job.packing,
        parents_must="finish",
        pending_file_cleanup=False,
        **numbers,
    )
    for key, value in job.tags.items():
        writer.add("job_tags", key=key, value=value, job_id=job.id)


@dataclass
class _Now:
    """Where a job stands while its events are written."""

    state: JobState = J.created
    since: int = ZERO
    batch_job: int | None = None
    attempt: int = 0
    run: dict[str, Any] = field(default_factory=dict)


def _add_events(writer: _Writer, sites: list[int], history: History) -> None:
    now = {job.id: _Now() for job in history.jobs}
    every = [(move.order, number, job, move) for number, job in enumerate(history.jobs) for move in job.moves]
    for _, _, job, move in sorted(every, key=lambda one: one[:2]):
        _add_event(writer, sites[job.site], history, job, move, now[job.id])


def _add_event(writer: _Writer, site: int, history: History, job: Job, move: Move, now: _Now) -> None:
    starts = move.new is J.running
    if starts:
        now.batch_job = None if move.allocation is None else history.allocations[move.allocation].id
    whose = {"site_id": site, "job_id": job.id, "batch_job_id": now.batch_job}
    move.id = writer.add(
        "events",
        **whose,
        timestamp=us(move.at),
        received=us(move.at),
        entered=now.since,
        from_state=now.state.value,
        to_state=move.new.value,
        data=move.data | ({"num_nodes": job.weight} if starts else {}),
    )
    if now.state is J.running:
        _end(now.run, move)
    if starts:
        now.attempt += 1
        given = {name: move.data[name] for name in ("nodes", "cpus", "gpus")}
        now.run = _run(writer, whose | given, job, move, now.attempt)
    now.state, now.since = move.new, us(move.at)


def _run(writer: _Writer, given: dict[str, Any], job: Job, move: Move, attempt: int) -> dict[str, Any]:
    writer.add(
        "runs",
        **given,
        attempt=attempt,
        app_version=None,
        num_nodes=job.weight,
        start=us(move.at),
        start_event_id=move.id,
        **dict.fromkeys(("end", "end_state", "return_code", "signature", "end_event_id")),
    )
    return writer.last("runs")


def _end(run: dict[str, Any], move: Move) -> None:
    code = move.data.get("returncode")
    failed = move.new is J.run_error
    run["end"] = us(move.at)
    run["end_state"] = move.new.value
    run["return_code"] = code
    run["signature"] = failure_signature(code, str(move.data.get("error", ""))) if failed else None
    run["end_event_id"] = move.id
