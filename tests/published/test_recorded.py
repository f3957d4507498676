"""Replays what the published client and server said to each other, against our server.

An exchange was recorded alone, from the middle of some history. So each is replayed in a world of its own:
objects are made for the ids that it names, and the answer is compared by status and shape, not by value.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import asking
from tests.services import PasswordServer, User

RECORDED = Path(__file__).parent / "recorded"
UNKNOWN = {99, 9999, 99999}
NOBODYS = 2**40
CUT = re.compile(r"\.\.\.\(|\(\d+ chars\)")  # the recording shows a part of the value only

KINDS = {"sites": "site", "apps": "app", "jobs": "job", "batch-jobs": "batch_job", "transfers": "transfer"}
REFERENCES = {
    "site_id": "site",
    "app_id": "app",
    "batch_job_id": "batch_job",
    "job_id": "job",
    "parent_id": "job",
}

NULLABLE = {"globus_endpoint_id", "default", "return_code", "batch_job_id", "session_id", "scheduler_id"}
NULLABLE |= {"partitions", "start_time", "end_time"}
MAPS = {"tags", "data", "parameters", "transfers", "status_info", "optional_params", "filter_tags"}
MAPS |= {"allowed_queues", "backfill_windows", "queued_jobs", "transfer_locations", "launch_params"}
MAPS |= {"optional_batch_job_params", "transfer_info"}

ITEM_BY_ITEM = "was 400: one bad item held up all others; a header now names it"
# Recorded answers that were defects: status now, and why it was one.
MENDED = {
    "rename a site to a taken name": (400, "was 500: the same conflict as at creation"),
    "update several jobs at once with different fields in each: server error": (200, "was 500"),
    "create jobs: empty list": (201, "was 500"),
    "list jobs: negative limit": (422, "was 500"),
    "update an unknown or foreign job id": (404, "was 400: every other unknown id is 404"),
    "bulk update with one unknown id": (200, ITEM_BY_ITEM),
    "update batch jobs by query: no such route": (200, "was 405, though the client has the method"),
}
# What other tests show, for want of what an exchange alone can't say.
ELSEWHERE = {
    "oauth": "logins at a provider have tests with a real one",
    "device": "logins at a provider have tests with a real one",
    "three enabled": "the tests' server offers passwords only",
    "expired": "tokens' ends have tests of their own",
}


def exchanges() -> Iterator[Any]:
    for name in ("exchanges.json", "more-exchanges.json"):
        for exchange in json.loads((RECORDED / name).read_text()):
            told = json.dumps([exchange["query"], exchange["request_body"]])
            where = exchange["path"] + exchange["purpose"]
            if not CUT.search(told) and not any(word in where for word in ELSEWHERE):
                yield pytest.param(exchange, id=exchange["purpose"])


class World:
    """A user's objects, made when an exchange names them."""

    def __init__(self, user: User) -> None:
        self.user = user
        self._numbers = itertools.count(1)
        where = {"transfer_locations": {"lab_dtn": "globus://11111111-2222-3333-4444-555555555555"}}
        self.site = self._make("sites", {"name": "demo", "path": "/home/alice/sites/demo", **where})
        self._ids = {("site", 1): self.site}
        transfers = {
            slot: {"required": False, "direction": way, "local_path": f"{way}.txt", "recursive": False}
            for slot, way in (("infile", "in"), ("outfile", "out"))
        }
        self.app = self._app("Hello", transfers)

    def id_of(self, kind: str, recorded: int) -> int:
        """Ours for a recorded id; always the same for the same one."""
        if recorded in UNKNOWN:
            return NOBODYS
        key = (kind, recorded)
        if key not in self._ids:
            self._ids[key] = getattr(self, f"_new_{kind}")()
        return self._ids[key]

    def clear(self) -> None:
        for site in self.user.client.get("/sites/")["results"]:
            self.user.client.delete(f"/sites/{site['id']}")

    def _make(self, route: str, body: Any) -> int:
        answer = self.user.client.post(f"/{route}/", body)
        return int((answer[0] if isinstance(answer, list) else answer)["id"])

    def _app(self, name: str, transfers: dict[str, Any]) -> int:
        body = {"site_id": self.site, "name": name, "serialized_class": "", "source_code": ""}
        return self._make("apps", {**body, "transfers": transfers})

    def _new_site(self) -> int:
        return self._make("sites", {"name": f"other-{next(self._numbers)}", "path": "/home/alice/other"})

    def _new_app(self) -> int:
        return self.app

    def _new_job(self) -> int:
        return self._make("jobs", [{"app_id": self.app, "workdir": "a"}])

    def _new_batch_job(self) -> int:
        body = {"site_id": self.site, "num_nodes": 1, "wall_time_min": 5, "job_mode": "mpi"}
        return self._make("batch-jobs", {**body, "project": "local", "queue": "local"})

    def _new_session(self) -> int:
        return self._make("sessions", {"site_id": self.site})

    def _new_transfer(self) -> int:
        item = {"location_alias": "lab_dtn", "path": "/data/in.txt"}
        job = self._make("jobs", [{"app_id": self.app, "workdir": "a", "transfers": {"infile": item}}])
        found: list[dict[str, Any]] = self.user.client.get("/transfers/", {"job_id": job})["results"]
        return int(found[0]["id"])


@pytest.fixture(scope="module")
def inhabitant(password_server: PasswordServer) -> Iterator[User]:
    user = password_server.new_user()
    yield user
    user.client.close()


@pytest.fixture
def world(inhabitant: User) -> Iterator[World]:
    world = World(inhabitant)
    yield world
    world.clear()


def test_the_recording_is_replayed_for_the_most_part() -> None:
    assert len(list(exchanges())) > 140


@pytest.mark.parametrize("exchange", list(exchanges()))
def test_an_exchange_is_answered_as_recorded(
    exchange: dict[str, Any], world: World, password_server: PasswordServer
) -> None:
    answer = send(exchange, world, password_server.url)
    status, _ = MENDED.get(exchange["purpose"], (exchange["status"], ""))
    assert answer.status_code == status, answer.text
    if exchange["purpose"] not in MENDED and exchange["response_body"] is not None:
        assert differences(exchange["response_body"], answer.json(), "") == []


def send(exchange: dict[str, Any], world: World, url: str) -> httpx.Response:
    route = exchange["path"].strip("/").split("/")
    kind = KINDS.get(route[0]) or ("session" if route[0] == "sessions" else "")
    if len(route) == 2 and route[1].isdigit():
        foreign = "another user" in exchange["purpose"]
        route[1] = str(NOBODYS if foreign else world.id_of(kind, int(route[1])))
    path = "/" + "/".join(route) + ("/" if exchange["path"].endswith("/") else "")
    if "location unknown to the site" in exchange["purpose"]:
        world.user.client.put(f"/sites/{world.site}", {"transfer_locations": {}})
    headers = {"accept": "*/*"}
    if "authorization" in exchange["request_headers"]:
        token = "nonsense" if "malformed" in exchange["purpose"] else world.user.token
        headers["authorization"] = f"Bearer {token}"
    params: list[tuple[str, Any]] = [
        (key, _query_value(key, value, kind, world)) for key, value in exchange["query"] if key != "..."
    ]
    sent = _body(exchange, kind, world)
    return asking.request(exchange["method"], url + path, params=params, headers=headers, **sent)


def _query_value(key: str, value: str, kind: str, world: World) -> str:
    noun = kind if key == "id" else REFERENCES.get(key, "")
    return str(world.id_of(noun, int(value))) if noun and value.isdigit() else value


def _body(exchange: dict[str, Any], kind: str, world: World) -> dict[str, Any]:
    body = exchange["request_body"]
    if body is None:
        return {}
    if isinstance(body, str):
        return {"content": body}
    if exchange["path"].startswith("/auth/password"):
        known = {"username": world.user.name, "password": world.user.password}
        return _credentials(exchange, {name: known[name] for name in body})
    foreign = "another user" in exchange["purpose"]
    mapped = _mapped(body, kind, world, foreign)
    if exchange["method"] == "POST" and exchange["status"] == 201 and "name" in body:
        mapped["name"] = f"{body['name']}-{next(world._numbers)}"
    return {"json": mapped}


def _credentials(exchange: dict[str, Any], body: dict[str, str]) -> dict[str, Any]:
    if exchange["status"] == 201:
        body["username"] += "-new"
    if "wrong" in exchange["purpose"]:
        body["password"] = "another one"
    is_form = "form" in exchange["request_headers"].get("content-type", "")
    return {"data": body} if is_form else {"json": body}


def _mapped(value: Any, kind: str, world: World, foreign: bool) -> Any:
    """The body with our ids for those recorded."""
    if isinstance(value, list):
        return [_mapped(inner, kind, world, foreign) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _mapped_field(key, inner, kind, world, foreign) for key, inner in value.items()}


def _mapped_field(key: str, value: Any, kind: str, world: World, foreign: bool) -> Any:
    noun = kind if key == "id" else REFERENCES.get(key, "")
    if noun and isinstance(value, int):
        return NOBODYS if foreign and key == "id" else world.id_of(noun, value)
    if key == "parent_ids":
        return [world.id_of("job", number) for number in value]
    if key == "app_ids":
        return [world.id_of("app", number) for number in value]
    return value


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(\+00:00)?")


def differences(recorded: Any, ours: Any, at: str) -> list[str]:
    """Where our answer lacks a key, or holds another type or another format of time."""
    name = at.rpartition(".")[2]
    if isinstance(recorded, dict) and isinstance(ours, dict):
        if name in MAPS:
            return []
        missing = [f"{at}.{key} is missing" for key in recorded if key not in ours and key != "ctx"]
        shared = [key for key in recorded if key in ours]
        return missing + [d for key in shared for d in differences(recorded[key], ours[key], f"{at}.{key}")]
    if isinstance(recorded, list) and isinstance(ours, list):
        return differences(recorded[0], ours[0], f"{at}[0]") if recorded and ours else []
    if (recorded is None or ours is None) and name in NULLABLE:
        return []
    if _type(recorded) != _type(ours):
        return [f"{at} is {ours!r}, was {recorded!r}"]
    if isinstance(recorded, str) and (was := TIME.fullmatch(recorded)) and name != "submit_time":
        now = TIME.fullmatch(ours)
        return [] if now and bool(was[2]) == bool(now[2]) else [f"{at} is {ours!r}, was {recorded!r}"]
    return []


def _type(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__
