"""Tenants never meet: every route is tried by strangers, with ids of others and with ids of nobody.

For a stranger the two must look the same, and what was tried must not have changed anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute

from balsam.store import ids
from balsam.store.database import Database
from balsam.store.tables import metadata
from tests import asking
from tests.server import dashboard_routes
from tests.server.lab import Lab
from tests.services import PasswordServer, User
from tests.waiting import wait_until


class Guard(Enum):
    """How a route is protected."""

    OPEN = "anybody: it tells nothing of users' things"
    CODE = "whoever knows the secret of a login that is under way, or of its renewal"
    OPERATOR = "operators, by address or token of their own"
    CALLER = "a login or a site's token"
    USER = "a login only"
    VISITOR = "a browser's session: see test_dashboard_tenancy.py"


FIGURES = (
    "throughput",
    "throughput-rates",
    "utilization",
    "available-nodes",
    "node-hours",
    "state-times",
    "run-delays",
    "failures",
    "failed-jobs",
    "scaling",
    "littles-law",
    "backlog",
    "trace",
    "timeline",
)
ROUTES: dict[tuple[str, str], Guard] = {
    ("GET", "/openapi.json"): Guard.OPEN,
    ("GET", "/health"): Guard.OPEN,
    ("GET", "/healthz"): Guard.OPEN,
    ("GET", "/readyz"): Guard.OPEN,
    ("GET", "/metrics"): Guard.OPERATOR,
    ("GET", "/auth/how"): Guard.OPEN,
    ("POST", "/auth/password/register"): Guard.OPEN,
    ("POST", "/auth/password/login"): Guard.OPEN,
    ("POST", "/auth/device/login"): Guard.OPEN,
    ("POST", "/auth/browser/login"): Guard.OPEN,
    ("POST", "/auth/device/token"): Guard.CODE,
    ("POST", "/auth/refresh"): Guard.CODE,
    ("GET", "/auth/oauth/{provider_name}/login/device"): Guard.OPEN,
    ("GET", "/auth/oauth/{provider_name}/login"): Guard.CODE,
    ("GET", "/auth/oauth/{provider_name}/callback"): Guard.CODE,
    ("POST", "/auth/oauth/{provider_name}/answer"): Guard.CODE,
    ("GET", "/auth/password/me"): Guard.CALLER,
    ("GET", "/auth/logins"): Guard.USER,
    ("DELETE", "/auth/logins/current"): Guard.USER,
    ("DELETE", "/auth/logins/{login_id}"): Guard.USER,
    ("POST", "/auth/site-tokens"): Guard.USER,
    ("GET", "/auth/site-tokens"): Guard.USER,
    ("DELETE", "/auth/site-tokens/{token_id}"): Guard.USER,
    ("GET", "/sites/"): Guard.CALLER,
    ("POST", "/sites/"): Guard.USER,
    ("GET", "/sites/{site_id}"): Guard.CALLER,
    ("PUT", "/sites/{site_id}"): Guard.CALLER,
    ("DELETE", "/sites/{site_id}"): Guard.USER,
    ("PUT", "/sites/{site_id}/agent"): Guard.CALLER,
    ("DELETE", "/sites/{site_id}/agent/{instance}"): Guard.CALLER,
    ("GET", "/apps/"): Guard.CALLER,
    ("POST", "/apps/"): Guard.CALLER,
    ("GET", "/apps/newest"): Guard.CALLER,
    ("GET", "/apps/{app_id}"): Guard.CALLER,
    ("GET", "/apps/{app_id}/versions"): Guard.CALLER,
    ("PUT", "/apps/{app_id}"): Guard.CALLER,
    ("DELETE", "/apps/{app_id}"): Guard.CALLER,
    ("GET", "/jobs/"): Guard.CALLER,
    ("POST", "/jobs/"): Guard.CALLER,
    ("PATCH", "/jobs/"): Guard.CALLER,
    ("PUT", "/jobs/"): Guard.CALLER,
    ("DELETE", "/jobs/"): Guard.CALLER,
    ("GET", "/jobs/why"): Guard.CALLER,
    ("GET", "/jobs/why/counts"): Guard.CALLER,
    ("GET", "/jobs/never-starting"): Guard.CALLER,
    ("GET", "/jobs/versions"): Guard.CALLER,
    ("POST", "/jobs/retry"): Guard.CALLER,
    ("GET", "/jobs/counts"): Guard.CALLER,
    ("GET", "/overview"): Guard.CALLER,
    ("GET", "/jobs/{job_id}"): Guard.CALLER,
    ("PUT", "/jobs/{job_id}"): Guard.CALLER,
    ("DELETE", "/jobs/{job_id}"): Guard.CALLER,
    ("GET", "/jobs/{job_id}/why"): Guard.CALLER,
    ("POST", "/jobs/kill"): Guard.CALLER,
    ("POST", "/jobs/{job_id}/kill"): Guard.CALLER,
    ("GET", "/jobs/{job_id}/tail"): Guard.CALLER,
    ("POST", "/batch-jobs/{batch_job_id}/drain"): Guard.CALLER,
    ("POST", "/batch-jobs/{batch_job_id}/submission"): Guard.CALLER,
    ("GET", "/batch-jobs/why"): Guard.CALLER,
    ("GET", "/batch-jobs/{batch_job_id}/why"): Guard.CALLER,
    ("GET", "/sessions/{session_id}/messages"): Guard.CALLER,
    ("PUT", "/sessions/{session_id}/messages/{message_id}"): Guard.CALLER,
    ("GET", "/batch-jobs/"): Guard.CALLER,
    ("POST", "/batch-jobs/"): Guard.CALLER,
    ("PATCH", "/batch-jobs/"): Guard.CALLER,
    ("GET", "/batch-jobs/{batch_job_id}"): Guard.CALLER,
    ("PUT", "/batch-jobs/"): Guard.CALLER,
    ("DELETE", "/batch-jobs/"): Guard.CALLER,
    ("PUT", "/batch-jobs/{batch_job_id}"): Guard.CALLER,
    ("DELETE", "/batch-jobs/{batch_job_id}"): Guard.CALLER,
    ("GET", "/sessions/"): Guard.CALLER,
    ("POST", "/sessions/"): Guard.CALLER,
    ("PUT", "/sessions/{session_id}"): Guard.CALLER,
    ("PUT", "/sessions/{session_id}/ending"): Guard.CALLER,
    ("POST", "/sessions/{session_id}"): Guard.CALLER,
    ("POST", "/sessions/{session_id}/death"): Guard.CALLER,
    ("DELETE", "/sessions/{session_id}"): Guard.CALLER,
    ("GET", "/transfers/"): Guard.CALLER,
    ("PATCH", "/transfers/"): Guard.CALLER,
    ("PUT", "/transfers/"): Guard.CALLER,
    ("DELETE", "/transfers/"): Guard.CALLER,
    ("GET", "/transfers/{transfer_id}"): Guard.CALLER,
    ("PUT", "/transfers/{transfer_id}"): Guard.CALLER,
    ("GET", "/events/"): Guard.CALLER,
    **{("GET", f"/analytics/{{subject}}/{figure}"): Guard.CALLER for figure in FIGURES},
    ("GET", "/analytics/summary"): Guard.CALLER,
    ("GET", "/analytics/totals"): Guard.CALLER,
    ("GET", "/stream"): Guard.CALLER,
    ("POST", "/auth/entry-code"): Guard.USER,
    **dict.fromkeys(dashboard_routes.OPEN, Guard.OPEN),
    **dict.fromkeys(dashboard_routes.CODE, Guard.CODE),
    **dict.fromkeys(dashboard_routes.CLOSED, Guard.VISITOR),
    ("GET", "/alerts/"): Guard.USER,
    ("GET", "/alerts/rules"): Guard.USER,
    ("POST", "/alerts/rules"): Guard.USER,
    ("GET", "/alerts/rules/{rule_id}"): Guard.USER,
    ("PUT", "/alerts/rules/{rule_id}"): Guard.USER,
    ("DELETE", "/alerts/rules/{rule_id}"): Guard.USER,
    ("POST", "/alerts/rules/{rule_id}/test"): Guard.USER,
    ("GET", "/alerts/deliveries/{delivery_id}"): Guard.USER,
}

Ids = Mapping[str, int]
SLOT = {"required": False, "direction": "in", "local_path": "in.dat"}
TAGS = {"owner": "victim"}


@dataclass(frozen=True)
class Try:
    """One request of a stranger. `{name}` in path and query is an id of somebody else or of nobody.

    `body` is made from those ids and the stranger's own. `route`: which of ROUTES it exercises. `subject`
    stands for the `{subject}` in its path.
    """

    method: str
    route: str
    query: str = ""
    body: Callable[[Ids, Ids], Any] = field(default=lambda theirs, own: None)
    subject: str = ""

    def send(self, http: httpx.Client, theirs: Ids, own: Ids) -> httpx.Response:
        names = {**theirs, **{f"own_{name}": number for name, number in own.items()}}
        path = re.sub(r"{(\w+)_id}", lambda found: str(names[found[1]]), self.route)
        path = path.replace("{subject}", self.subject)
        query = self.query.format(**names)
        content = self.body(theirs, own)
        url = f"{path}?{query}"
        if self.route == "/stream":
            return _greeting(http, url)
        return (
            http.request(self.method, url, json=content)
            if content is not None
            else http.request(self.method, url)
        )


def _greeting(http: httpx.Client, url: str) -> httpx.Response:
    """The first message of a stream, as if it were the whole answer; without the cursor, which is random."""
    with http.stream("GET", url) as answer:
        if answer.status_code != 200:
            answer.read()
            return answer
        first = next(answer.iter_lines())
        return httpx.Response(200, text=first, request=answer.request)


def _app(site: int) -> dict[str, Any]:
    return {"site_id": site, "name": "Stolen", "serialized_class": "", "source_code": ""}


def _batch_job(site: int) -> dict[str, Any]:
    body = {
        "site_id": site,
        "num_nodes": 1,
        "wall_time_min": 1,
        "job_mode": "mpi",
        "project": "p",
        "queue": "q",
    }
    part = {"job_mode": "mpi", "num_nodes": 1, "filter_tags": TAGS}
    return {**body, "partitions": [part]}


def _rule(name: str, *sites: int) -> dict[str, Any]:
    # A name that leads inside: nothing is really sent.
    address = f"http://localhost/{name}"
    return {"kind": "site_down", "site_id": list(sites), "channel": "webhook", "address": address}


def _job(app: int, **values: Any) -> list[dict[str, Any]]:
    return [{"workdir": "w", "app_id": app, **values}]


def _filters(route: str, names: Iterable[str], *others: str) -> Iterator[Try]:
    for query in [f"{name}={{{of}}}" for name, of in map(_named, names)] + list(others):
        yield Try("GET", route, query)


def _named(filter_name: str) -> tuple[str, str]:
    """`job_id` and `job`; `id@job` stands for a filter `id` that takes a job's id."""
    name, _, of = filter_name.partition("@")
    return name, of or name.removesuffix("_id")


JOB_FILTERS = ("id@job", "parent_id@job", "app_id", "site_id", "batch_job_id", "session_id")
EVENT_FILTERS = ("id@event", "job_id", "batch_job_id", "site_id", "scheduler_id@scheduler_id")
VICTIMS_TAG = "tags=owner:victim"

# Of each subject the filters that are looked up in their own ways.
SUBJECTS = {
    "events": ("batch_job_id={batch_job}", "job_id={job}", VICTIMS_TAG),
    "jobs": ("id={job}", VICTIMS_TAG),
    "batch-jobs": ("id={batch_job}", "scheduler_id={scheduler_id}"),
}
FIGURE_TRIES = [
    Try("GET", f"/analytics/{{subject}}/{figure}", query, subject=subject)
    for number, figure in enumerate(FIGURES)
    for place, (subject, queries) in enumerate(SUBJECTS.items())
    for query in queries
    # Three subjects are the same to all figures: each figure meets one, and one figure meets all.
    if figure == "utilization" or (number % len(SUBJECTS) == place and query == queries[0])
]
AGENT = {"instance": "of a stranger", "host": "h", "pid": 1, "folder": "1:2", "path": "/stolen"}
FOREIGN_PARENT = Try("POST", "/jobs/", body=lambda theirs, own: _job(own["app"], parent_ids=[theirs["job"]]))
LOG_OUT = Try("DELETE", "/auth/logins/current")
TRIES: list[Try] = [
    Try("GET", "/auth/password/me"),
    Try("GET", "/auth/logins"),
    LOG_OUT,
    Try("DELETE", "/auth/logins/{login_id}"),
    Try("POST", "/auth/entry-code"),
    Try("GET", "/auth/site-tokens"),
    Try("POST", "/auth/site-tokens", body=lambda theirs, own: {"site_id": theirs["site"]}),
    Try("DELETE", "/auth/site-tokens/{token_id}"),
    Try("POST", "/sites/", body=lambda theirs, own: {"name": "s", "path": "relative"}),
    *_filters("/sites/", ["id@site"], "name=victim", "path=/victim"),
    Try("GET", "/sites/{site_id}"),
    Try("PUT", "/sites/{site_id}", body=lambda theirs, own: {"path": "/stolen"}),
    Try("DELETE", "/sites/{site_id}"),
    Try("PUT", "/sites/{site_id}/agent", body=lambda theirs, own: AGENT),
    Try("DELETE", "/sites/{site_id}/agent/{instance}"),
    *_filters("/apps/", ["id@app", "site_id"], "name=Secret", "site_path=/victim", "site_name=victim"),
    Try("POST", "/apps/", body=lambda theirs, own: _app(theirs["site"])),
    *_filters("/apps/newest", ["id@app"]),
    Try("GET", "/apps/{app_id}"),
    Try("GET", "/apps/{app_id}/versions"),
    Try("PUT", "/apps/{app_id}", body=lambda theirs, own: {"description": "stolen"}),
    Try("PUT", "/apps/{own_app_id}", body=lambda theirs, own: {"site_id": theirs["site"]}),
    Try("DELETE", "/apps/{app_id}"),
    Try("GET", "/overview"),
    *_filters("/jobs/", JOB_FILTERS, VICTIMS_TAG, "workdir__contains=victim"),
    *_filters("/jobs/why", JOB_FILTERS, VICTIMS_TAG),
    *_filters("/jobs/why/counts", JOB_FILTERS, VICTIMS_TAG),
    *_filters("/jobs/never-starting", JOB_FILTERS, VICTIMS_TAG),
    *(Try("POST", "/jobs/retry", f"{name}={{{of}}}") for name, of in map(_named, JOB_FILTERS)),
    *_filters("/jobs/versions", JOB_FILTERS, VICTIMS_TAG),
    *_filters("/jobs/counts", JOB_FILTERS, VICTIMS_TAG, "group_by=tag:owner"),
    Try("POST", "/jobs/", body=lambda theirs, own: _job(theirs["app"])),
    FOREIGN_PARENT,
    Try("POST", "/jobs/", body=lambda theirs, own: _job(own["app"]) + _job(theirs["app"])),
    Try("PATCH", "/jobs/", body=lambda theirs, own: [{"id": theirs["job"], "workdir": "stolen"}]),
    Try(
        "PATCH",
        "/jobs/",
        "session_id={session}",
        lambda theirs, own: [{"id": theirs["job"], "state": "FAILED"}],
    ),
    Try("PATCH", "/jobs/", "session_id={session}", lambda theirs, own: [{"id": own["job"], "priority": 3}]),
    Try(
        "PATCH", "/jobs/", body=lambda theirs, own: [{"id": own["job"], "batch_job_id": theirs["batch_job"]}]
    ),
    Try("PUT", "/jobs/", "id={job}", lambda theirs, own: {"workdir": "stolen"}),
    Try("PUT", "/jobs/", VICTIMS_TAG, lambda theirs, own: {"workdir": "stolen"}),
    *(
        Try("PUT", "/jobs/", f"{name}={{{of}}}", lambda t, o: {"priority": 7})
        for name, of in map(_named, JOB_FILTERS)
    ),
    *(Try("DELETE", "/jobs/", f"{name}={{{of}}}") for name, of in map(_named, JOB_FILTERS)),
    Try("DELETE", "/jobs/", VICTIMS_TAG),
    Try("GET", "/jobs/{job_id}"),
    Try("PUT", "/jobs/{job_id}", body=lambda theirs, own: {"workdir": "stolen"}),
    Try("DELETE", "/jobs/{job_id}"),
    Try("GET", "/jobs/{job_id}/why"),
    *(Try("POST", "/jobs/kill", f"{name}={{{of}}}") for name, of in map(_named, JOB_FILTERS)),
    Try("POST", "/jobs/kill", VICTIMS_TAG),
    Try("POST", "/jobs/kill", "workdir__contains=victim"),
    Try("POST", "/jobs/{job_id}/kill"),
    Try("GET", "/jobs/{job_id}/tail"),
    Try("GET", "/jobs/{job_id}/tail", "after=0&follow=true"),
    Try("POST", "/batch-jobs/{batch_job_id}/drain"),
    Try(
        "POST",
        "/batch-jobs/{batch_job_id}/submission",
        body=lambda theirs, own: {"instance": "of a stranger"},
    ),
    Try("GET", "/sessions/{session_id}/messages"),
    Try("PUT", "/sessions/{session_id}/messages/{message_id}", body=lambda t, o: {"answer": {"text": "x"}}),
    Try(
        "PUT", "/sessions/{own_session_id}/messages/{message_id}", body=lambda t, o: {"answer": {"text": "x"}}
    ),
    *_filters(
        "/batch-jobs/", ["id@batch_job", "site_id", "scheduler_id@scheduler_id"], "filter_tags=owner:victim"
    ),
    *_filters("/batch-jobs/why", ["id@batch_job", "site_id"], "filter_tags=owner:victim"),
    Try("GET", "/batch-jobs/{batch_job_id}/why"),
    Try("POST", "/batch-jobs/", body=lambda theirs, own: _batch_job(theirs["site"])),
    Try("PATCH", "/batch-jobs/", body=lambda theirs, own: [{"id": theirs["batch_job"], "state": "finished"}]),
    Try("GET", "/batch-jobs/{batch_job_id}"),
    Try("DELETE", "/batch-jobs/", "id={batch_job}"),
    Try("PUT", "/batch-jobs/", "id={batch_job}", lambda theirs, own: {"state": "pending_deletion"}),
    Try("PUT", "/batch-jobs/{batch_job_id}", body=lambda theirs, own: {"state": "pending_deletion"}),
    Try("DELETE", "/batch-jobs/{batch_job_id}"),
    Try("GET", "/sessions/", "id={session}"),
    Try("POST", "/sessions/", body=lambda theirs, own: {"site_id": theirs["site"]}),
    Try(
        "POST",
        "/sessions/",
        body=lambda theirs, own: {"site_id": own["site"], "batch_job_id": theirs["batch_job"]},
    ),
    Try("PUT", "/sessions/{session_id}"),
    Try("PUT", "/sessions/{session_id}/ending", body=lambda theirs, own: {"code": "idle", "sentence": "x"}),
    Try("PUT", "/sessions/{session_id}", body=lambda theirs, own: {"job_ids": []}),
    Try("PUT", "/sessions/{own_session_id}", body=lambda theirs, own: {"job_ids": [theirs["job"]]}),
    Try("POST", "/sessions/{session_id}", body=lambda theirs, own: {"max_num_jobs": 9}),
    Try(
        "POST",
        "/sessions/{own_session_id}",
        body=lambda theirs, own: {"max_num_jobs": 9, "app_ids": [theirs["app"]], "filter_tags": TAGS},
    ),
    Try("PUT", "/sessions/{session_id}/ending", body=lambda t, o: {"code": "idle", "sentence": "x"}),
    Try("POST", "/sessions/{session_id}/death", body=lambda theirs, own: {"job_id": own["job"]}),
    Try("POST", "/sessions/{own_session_id}/death", body=lambda theirs, own: {"job_id": theirs["job"]}),
    Try("DELETE", "/sessions/{session_id}"),
    *_filters(
        "/transfers/", ["id@transfer", "site_id", "job_id"], VICTIMS_TAG, "job_state=READY&state=pending"
    ),
    Try("PATCH", "/transfers/", body=lambda theirs, own: [{"id": theirs["transfer"], "state": "done"}]),
    Try("PUT", "/transfers/", "id={transfer}", lambda theirs, own: {"state": "done"}),
    Try("PUT", "/transfers/", VICTIMS_TAG, lambda theirs, own: {"state": "done"}),
    Try("DELETE", "/transfers/", "id={transfer}"),
    Try("DELETE", "/transfers/", VICTIMS_TAG),
    Try("GET", "/transfers/{transfer_id}"),
    Try("PUT", "/transfers/{transfer_id}", body=lambda theirs, own: {"state": "done"}),
    *_filters("/events/", EVENT_FILTERS, VICTIMS_TAG, "data=secret:victim"),
    *FIGURE_TRIES,
    *_filters("/analytics/summary", JOB_FILTERS, VICTIMS_TAG),
    *_filters("/analytics/totals", ["site_id", "app_id"]),
    *_filters("/stream", [*EVENT_FILTERS, "session_id"], VICTIMS_TAG),
    Try("GET", "/alerts/"),
    Try("GET", "/alerts/rules"),
    Try("POST", "/alerts/rules", body=lambda theirs, own: _rule("stolen", theirs["site"])),
    Try("GET", "/alerts/rules/{rule_id}"),
    Try("PUT", "/alerts/rules/{rule_id}", body=lambda theirs, own: {"minutes": 7}),
    Try("PUT", "/alerts/rules/{own_rule_id}", body=lambda theirs, own: {"site_id": [theirs["site"]]}),
    Try("DELETE", "/alerts/rules/{rule_id}"),
    Try("POST", "/alerts/rules/{rule_id}/test"),
    Try("GET", "/alerts/deliveries/{delivery_id}"),
]


# Logging out names nobody's thing, and ends what the test itself needs.
CROSSINGS = [one for one in TRIES if one is not LOG_OUT]


class Tenant:
    """A site with one of each thing, and what its owner sees of it; `name` stands in all of it."""

    def __init__(self, server: PasswordServer, user: User, name: str) -> None:
        self.client = user.client
        lab = Lab(user.client, hooks=[], transfers={"source": SLOT})
        self.client.put(f"/sites/{lab.site['id']}", {"name": name, "path": f"/{name}/site"})
        tags = {"owner": name}
        [job] = lab.create(tags=tags, workdir=f"{name}/1", data={"secret": name})
        [done] = lab.create(tags=tags, workdir=f"{name}/2")
        staged = {"source": {"location_alias": "dtn", "path": f"/{name}"}}
        lab.create(parent_ids=[job], transfers=staged, workdir=f"{name}/3")
        batch_job = lab.batch_job(filter_tags=tags)["id"]
        scheduler_id = 700_000 + batch_job
        self.client.put(f"/batch-jobs/{batch_job}", {"scheduler_id": scheduler_id, "state": "running"})
        session = lab.session(batch_job_id=batch_job)
        [held] = lab.create(tags=tags, workdir=f"{name}/4")
        lab.acquire(session)
        lab.move([job, done], "RUNNING", session, state_data={"secret": name})
        lab.move([done], "RUN_DONE", session, state_data={"secret": name})
        # Held and not started, so that its kill waits for the session.
        killed = self.client.post("/jobs/kill", None, params={"id": held})
        assert killed["told"] == 1
        [message] = self.client.get(f"/sessions/{session}/messages")
        token = self.client.post("/auth/site-tokens", {"site_id": lab.site["id"]})
        rule = self.client.post("/alerts/rules", {**_rule(name, lab.site["id"]), "secret": name})
        delivery = self.client.post(f"/alerts/rules/{rule['id']}/test", None)
        wait_until(lambda: self.client.get(f"/alerts/deliveries/{delivery['id']}")["ended"])
        form = {"username": user.name, "password": user.password, "scope": "offline_access"}
        asking.post(f"{server.url}/auth/password/login", data=form).raise_for_status()
        self.token, self.site_token = user.token, str(token["token"])
        self.ids = {
            "site": lab.site["id"],
            "app": lab.app["id"],
            "job": job,
            "batch_job": batch_job,
            "session": session,
            "message": message["id"],
            "transfer": self.client.get("/transfers/", {"site_id": lab.site["id"]})["results"][0]["id"],
            "event": lab.events(job)[0]["id"],
            "token": token["id"],
            "login": max(row["id"] for row in self.client.get("/auth/logins")),
            "scheduler_id": scheduler_id,
            "rule": rule["id"],
            "delivery": delivery["id"],
        }

    def beat(self) -> None:
        """Keeps the session from running out while the test goes on."""
        self.client.put(f"/sessions/{self.ids['session']}", {"digest": ""})

    def view(self) -> dict[str, Any]:
        """All that belongs to the tenant's site, as its user sees it; but for heartbeats."""
        here = {"site_id": self.ids["site"]}
        names = ("apps", "jobs", "batch-jobs", "transfers", "events")
        seen = {name: self.client.get(f"/{name}/", here)["results"] for name in names}
        seen["site"] = self.client.get(f"/sites/{self.ids['site']}")
        sessions = self.client.get("/sessions/", {"id": self.ids["session"]})["results"]
        seen["messages"] = self.client.get(f"/sessions/{self.ids['session']}/messages")
        seen["sessions"] = [{**row, "heartbeat": None} for row in sessions]
        tokens = self.client.get("/auth/site-tokens")
        seen["rules"] = [row for row in self.client.get("/alerts/rules") if row["id"] == self.ids["rule"]]
        seen["delivery"] = self.client.get(f"/alerts/deliveries/{self.ids['delivery']}")
        seen["logins"] = self.client.get("/auth/logins")
        seen["tokens"] = [row for row in tokens if row["site_id"] == self.ids["site"]]
        assert all(seen.values())
        return seen


def _routes(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if inner is not None and hasattr(inner, "routes"):
            yield from _routes(inner.routes)
        else:
            path: str = getattr(route, "path")  # noqa: B009 - BaseRoute does not declare it
            yield from ((method, path) for method in getattr(route, "methods", ()) if method != "HEAD")


@pytest.fixture(scope="module")
def owner(password_server: PasswordServer) -> Iterator[User]:
    _spread_ids(password_server.server.db)
    user = password_server.new_user()
    yield user
    user.client.close()


@pytest.fixture(scope="module")
def victim(password_server: PasswordServer, owner: User) -> Tenant:
    return Tenant(password_server, owner, "victim")


@pytest.fixture(scope="module")
def sibling(password_server: PasswordServer, owner: User) -> Tenant:
    """Another site of victim owner."""
    return Tenant(password_server, owner, "sibling")


@pytest.fixture(scope="module")
def stranger(password_server: PasswordServer) -> Iterator[Tenant]:
    user = password_server.new_user()
    yield Tenant(password_server, user, "stranger")
    user.client.close()


def _spread_ids(db: Database) -> None:
    """Ids that no two kinds of things share, and that are no count or user's id either."""
    things = ("sites", "apps", "jobs", "batch_jobs", "sessions", "transfers", "events", "messages")
    kinds = (*things, "tokens", "logins", "alert_rules", "alert_deliveries")
    with db.write() as tx:
        for number, name in enumerate(kinds, start=11):
            ids.allocate(tx.conn, metadata.tables[name], number * 10_000)


def test_every_route_is_in_the_table(password_server: PasswordServer) -> None:
    assert set(_routes(password_server.app.routes)) == ROUTES.keys()


def test_every_closed_route_is_tried() -> None:
    tried = {(one.method, one.route.replace("{own_", "{")) for one in TRIES}
    closed = {route for route, guard in ROUTES.items() if guard in (Guard.CALLER, Guard.USER)}
    assert closed - tried == set()


def test_who_is_nobody_gets_no_answer(password_server: PasswordServer, victim: Tenant) -> None:
    gone = victim.client.post("/auth/site-tokens", {"site_id": victim.ids["site"]})
    victim.client.delete(f"/auth/site-tokens/{gone['id']}")
    before = victim.view()
    headers = [None, "Bearer", "Bearer nonsense", "Basic abc", f"Bearer {gone['token']}", "Bearer bs_\xff"]
    for header in headers:
        with _http(password_server, header) as http:
            for one in TRIES:
                answer = one.send(http, victim.ids, victim.ids)
                assert answer.status_code == 401, (header, one, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
    assert victim.view() == before


def test_things_of_another_user_look_like_things_of_nobody(
    password_server: PasswordServer, victim: Tenant, stranger: Tenant
) -> None:
    for token in (stranger.token, stranger.site_token):
        _try_all(password_server, token, victim, stranger)


def test_a_sites_token_meets_no_other_site(
    password_server: PasswordServer, victim: Tenant, sibling: Tenant
) -> None:
    # A child may wait for a parent at another site of its owner.
    tries = [one for one in CROSSINGS if one is not FOREIGN_PARENT]
    _try_all(password_server, sibling.site_token, victim, sibling, tries)


def _try_all(
    server: PasswordServer, token: str, victim: Tenant, stranger: Tenant, tries: list[Try] = CROSSINGS
) -> None:
    nobody = {name: 10**15 + number for number, name in enumerate(victim.ids)}
    before = victim.view()
    with _http(server, f"Bearer {token}") as http:
        for one in tries:
            stranger.beat()
            victim.beat()
            answers = [one.send(http, theirs, stranger.ids) for theirs in (nobody, victim.ids)]
            told = [_told(*pair) for pair in zip(answers, (nobody, victim.ids), strict=True)]
            assert told[0] == told[1], one
            assert "victim" not in answers[1].text, one
    assert victim.view() == before


def _told(answer: httpx.Response, ids: Ids) -> tuple[int, str, str | None]:
    """An answer without the ids that the request named and without the time of day."""
    text = answer.text
    for name, number in ids.items():
        text = re.sub(rf"\b{number}\b", f"<{name}>", text)
    text = re.sub(r"server_time_us\":\d+|\d{4}-\d\d-\d\dT[\d:.]+", "<time>", text)
    return answer.status_code, text, answer.headers.get("balsam-refused") and "refused"


def _http(server: PasswordServer, authorization: str | None) -> httpx.Client:
    headers = {} if authorization is None else {b"authorization": authorization.encode("latin-1")}
    return asking.client(base_url=server.url, headers=headers)
