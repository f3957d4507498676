"""Whatever one tenant does, with ids of whomever, the other's view stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from balsam.core.states import JobState
from tests import asking
from tests.server.test_tenancy import SLOT
from tests.services import PasswordServer, User

KINDS = ("sites", "apps", "jobs", "batch-jobs", "sessions", "transfers")
Pool = dict[str, list[int]]


class Tenant:
    def __init__(self, server: PasswordServer, user: User) -> None:
        self.http = asking.client(base_url=server.url, headers={"authorization": f"Bearer {user.token}"})

    def act(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        answer = self.http.request(method, path, json=body, params=query)
        assert answer.status_code < 500, answer.text
        return answer

    def ids(self, kind: str) -> list[int]:
        return [row["id"] for row in self.act("GET", f"/{kind}/").json()["results"]]

    def view(self) -> dict[str, Any]:
        seen = {kind: self.act("GET", f"/{kind}/").json() for kind in (*KINDS, "events")}
        for row in seen["sessions"]["results"]:
            row["heartbeat"] = None
        return seen


@pytest.fixture(scope="module")
def tenants(password_server: PasswordServer) -> Iterator[list[Tenant]]:
    users = [password_server.new_user() for _ in range(2)]
    made = [Tenant(password_server, user) for user in users]
    yield made
    for tenant, user in zip(made, users, strict=True):
        tenant.http.close()
        user.client.close()


@st.composite
def picks(draw: st.DrawFn) -> Callable[[list[int]], int]:
    """Chooses one of the ids that exist, or one of nobody."""
    number = draw(st.integers(0, 1_000))
    return lambda ids: ids[number % len(ids)] if ids and number % 7 else 10**12


def create_site(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    locations = {"name": f"s{value}", "path": "/a", "transfer_locations": {"dtn": "local://x"}}
    who.act("POST", "/sites/", locations)


def create_app(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    app = {"site_id": pick(pool["sites"]), "name": f"A{value}", "serialized_class": "", "source_code": ""}
    who.act("POST", "/apps/", {**app, "hooks": [], "transfers": {"source": SLOT}})


def create_jobs(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    job = {"workdir": "w", "app_id": pick(pool["apps"]), "tags": {"n": value}}
    parents = [pick(pool["jobs"])] if value % 2 else []
    files = {"source": {"location_alias": "dtn", "path": "/x"}} if value % 3 == 0 else {}
    who.act("POST", "/jobs/", [{**job, "parent_ids": parents, "transfers": files}] * (1 + value % 3))


def change_jobs(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    state = list(JobState)[value % len(JobState)]
    items = [{"id": job, "state": state} for job in {pick(pool["jobs"]), *pool["jobs"][:2]}]
    who.act("PATCH", "/jobs/", items, **({"session_id": pick(pool["sessions"])} if value % 2 else {}))


def change_chosen_jobs(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    names = ("id", "app_id", "site_id", "session_id", "batch_job_id", "parent_id")
    kinds = ("jobs", "apps", "sites", "sessions", "batch-jobs", "jobs")
    chosen = {names[value % 6]: pick(pool[kinds[value % 6]])}
    if value % 4:
        who.act("PUT", "/jobs/", {"priority": value, "batch_job_id": pick(pool["batch-jobs"])}, **chosen)
    else:
        who.act("DELETE", "/jobs/", **chosen)


def open_session(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    batch_job = {"batch_job_id": pick(pool["batch-jobs"])} if value % 2 else {}
    who.act("POST", "/sessions/", {"site_id": pick(pool["sites"]), "fenced": bool(value % 3), **batch_job})


def acquire(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    states = ["PREPROCESSED", "STAGED_IN", "READY", "RUN_DONE"]
    who.act("POST", f"/sessions/{pick(pool['sessions'])}", {"max_num_jobs": 5, "states": states})


def tick(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    who.act("PUT", f"/sessions/{pick(pool['sessions'])}", {"job_ids": pool["jobs"][: value % 5]})


def end_session(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    who.act("DELETE", f"/sessions/{pick(pool['sessions'])}")


def ask_for_nodes(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    body = {"num_nodes": 1, "wall_time_min": 1, "job_mode": "mpi", "project": "p", "queue": "q"}
    who.act("POST", "/batch-jobs/", {**body, "site_id": pick(pool["sites"])})


def report_allocations(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    state = ("queued", "running", "finished", "pending_deletion")[value % 4]
    items = [{"id": one, "state": state} for one in {pick(pool["batch-jobs"]), *pool["batch-jobs"][:1]}]
    who.act("PATCH", "/batch-jobs/", items)


def report_transfer(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    item = {"id": pick(pool["transfers"]), "state": ("active", "done", "error")[value % 3]}
    who.act("PATCH", "/transfers/", [item])


def delete_one(who: Tenant, pool: Pool, pick: Any, value: int) -> None:
    kind = ("jobs", "batch-jobs", "apps", "sites")[value % 4]
    if value % 3 == 0:
        who.act("DELETE", f"/{kind}/{pick(pool[kind])}")


ACTIONS = [
    create_site,
    create_app,
    create_jobs,
    create_jobs,
    change_jobs,
    change_jobs,
    change_chosen_jobs,
    open_session,
    acquire,
    tick,
    end_session,
    ask_for_nodes,
    report_allocations,
    report_transfer,
    delete_one,
]
STEPS = st.tuples(st.integers(0, 1), st.sampled_from(ACTIONS), picks(), st.integers(0, 60))


def test_no_action_of_one_tenant_is_seen_by_the_other(tenants: list[Tenant]) -> None:
    for who in tenants:  # something to meddle with
        pool: Pool = {kind: [] for kind in KINDS}
        for action in (create_site, create_app, create_jobs, ask_for_nodes, open_session, acquire):
            pool = {kind: who.ids(kind) for kind in KINDS}
            action(who, pool, lambda ids: ids[0] if ids else 0, 0)
    acted = 0

    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(STEPS, min_size=8, max_size=8))
    def meddle(steps: list[Any]) -> None:
        nonlocal acted
        pool = {kind: sorted(tenants[0].ids(kind) + tenants[1].ids(kind)) for kind in KINDS}
        for number, action, pick, value in steps:
            other = tenants[1 - number]
            before = other.view()
            action(tenants[number], pool, pick, value)
            assert other.view() == before, (action.__name__, value)
            acted += 1

    meddle()
    assert acted >= 64
