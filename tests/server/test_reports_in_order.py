"""Several updates of a job in one request of its session: as if they had been sent one after the other."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import select, update

from balsam.client.encoding import json_body
from balsam.client.errors import ServerRefused
from balsam.client.jobs import patch_jobs, report_jobs
from balsam.client.transport import Client
from balsam.core.clock import from_us, now_us
from balsam.store import tables
from tests.server.lab import Lab
from tests.services import PasswordServer

Item = dict[str, Any]


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


def report(lab: Lab, session: int, items: list[Item], key: str | None = None) -> list[tuple[int, str]]:
    return report_jobs(lab.client, [json_body(item) for item in items], session, key)


def test_a_short_run_is_told_in_one_request(lab: Lab) -> None:
    jobs = lab.create(2)
    session = lab.session()
    lab.acquire(session)
    items = [{"id": job, "state": state} for job in jobs for state in ("RUNNING", "RUN_DONE")]
    assert patch_jobs(lab.client, items, session) == (4, [])
    expected = ["CREATED", "STAGED_IN", "PREPROCESSED", "RUNNING", "RUN_DONE", "JOB_FINISHED"]
    assert [lab.walk(job) for job in jobs] == [expected, expected]


def test_an_id_that_occurs_twice_is_refused_where_no_session_reports(lab: Lab) -> None:
    [job] = lab.create()
    with pytest.raises(ServerRefused, match="Duplicate Job ID keys provided"):
        patch_jobs(lab.client, [{"id": job, "priority": 1}, {"id": job, "priority": 2}])
    assert lab.job(job)["priority"] == 0


def test_every_refused_item_is_named_by_its_place_however_many(lab: Lab) -> None:
    jobs = lab.create(300)
    session = lab.session()
    lab.acquire(session, 300)
    items: list[Item] = [{"id": job, "state": "RUN_DONE"} for job in jobs]
    items.insert(7, {"id": jobs[0], "num_nodes": -1})
    items.append({"id": jobs[0], "state": "RUNNING"})
    refused = report(lab, session, items, key="k")
    assert [place for place, _ in refused] == list(range(301))
    assert "it can't go to RUN_DONE" in refused[0][1] and "num_nodes should be" in refused[7][1]
    assert report(lab, session, items, key="k") == refused
    assert lab.state(jobs[0]) == "RUNNING"


STATES = ["RUNNING", "RUNNING", "RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT", "FAILED", "PREPROCESSED", None, None]


def random_items(rng: random.Random, jobs: int) -> list[Item]:
    """Items of jobs 0, 1, ...: legal and illegal moves, fields, and some that are not valid."""
    items: list[Item] = []
    stamp = now_us() - 10**8
    for _ in range(rng.randint(1, 40)):
        stamp += rng.randint(0, 10**6)
        item: Item = {"id": rng.randrange(jobs)}
        state = rng.choice(STATES)
        if state:
            item |= {"state": state, "state_timestamp": from_us(stamp).isoformat()}
            item["state_data"] = {
                "returncode": rng.randint(0, 3),
                "cpus": 1,
                "nodes": ["n1"],
                "n": len(items),
            }
        if rng.random() < 0.3:
            item["data"] = {"step": len(items)}
        if rng.random() < 0.2:
            item["tags"] = {"k": str(len(items))}
        if rng.random() < 0.1:
            item["return_code"] = rng.choice([None, 4])
        if rng.random() < 0.05:
            item["priority"] = "no number"
        items.append(item)
    return items


RUN_TIMES = ("start", "end")


def backdate(server: PasswordServer, jobs: list[int], us: int) -> None:
    """As if they had been there for long: no report of a job is taken to be older than its state."""
    with server.server.db.write() as tx:
        tx.conn.execute(update(tables.jobs).where(tables.jobs.c.id.in_(jobs)).values(state_since=us))


def told(lab: Lab, server: PasswordServer, jobs: list[int], session: int, began: int) -> list[Any]:
    """Everything that is stored of the jobs, but for ids and the server's own times."""
    skipped = {"id", "job_id", "site_id", "owner_id", "app_id", "workdir", "xid", "last_update", "received"}
    skipped |= {"start_event_id", "end_event_id", "parent_ids"}

    def plain(row: Any) -> dict[str, Any]:
        own = {k: v for k, v in row.items() if k not in skipped}
        return own | {"session_id": own.get("session_id") == session}

    found: list[Any] = []
    with server.server.db.read() as conn:
        for job in jobs:
            found.append(plain(lab.job(job)))
            stmt = select(tables.events).where(tables.events.c.job_id == job).order_by(tables.events.c.id)
            for event in conn.execute(stmt).mappings():
                times = {name: min(event[name], began) for name in ("timestamp", "entered")}
                found.append(plain(event) | times)
            runs = select(tables.runs).where(tables.runs.c.job_id == job).order_by(tables.runs.c.attempt)
            for run in conn.execute(runs).mappings():
                found.append(plain(run) | {name: run[name] and min(run[name], began) for name in RUN_TIMES})
    return found


@pytest.mark.parametrize("seed", range(12))
def test_one_request_does_what_several_do(client: Client, password_server: PasswordServer, seed: int) -> None:
    rng = random.Random(seed)
    began = now_us()
    hooks = rng.choice([[], ["postprocess", "handle_error"], None])
    items = random_items(rng, jobs=5)
    answers, stored = [], []
    for together in (True, False):
        lab = Lab(client, hooks=hooks)
        jobs = lab.create(4)
        if hooks is None:
            lab.move(jobs, "PREPROCESSED")
        jobs += lab.create(parent_ids=jobs[:2])  # is released by the others' ends
        backdate(password_server, jobs, began - 10**9)
        session = lab.session()
        lab.acquire(session)
        mine = [{**item, "id": jobs[item["id"]]} for item in items]
        if together:
            refused = dict(report(lab, session, mine))
        else:
            each = [report(lab, session, [item]) for item in mine]
            refused = {place: answer[0][1] for place, answer in enumerate(each) if answer}
        for n, job in enumerate(jobs):
            refused = {place: reason.replace(f"job {job}", f"job #{n}") for place, reason in refused.items()}
        answers.append({n: reason.replace(f"session {session}", "it") for n, reason in refused.items()})
        stored.append(told(lab, password_server, jobs, session, began))
    assert answers[0] == answers[1]
    assert 0 < len(answers[0]) <= len(items) or len(items) < 5
    for one, other in zip(*stored, strict=True):
        assert one == other
