"""Query strings become models as FastAPI would make them, and the API's document names their parameters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel

from balsam.server import queries
from balsam.server.analytics import SELECTIONS
from balsam.server.overview import CountQuery
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User

TAKEN: dict[tuple[str, str], type[BaseModel]] = {
    ("get", "/sites/"): queries.SiteQuery,
    ("get", "/apps/"): queries.AppQuery,
    ("get", "/jobs/"): queries.JobQuery,
    ("get", "/jobs/why"): queries.JobQuery,
    ("get", "/jobs/why/counts"): queries.JobSelection,
    ("get", "/jobs/counts"): CountQuery,
    ("get", "/batch-jobs/why"): queries.BatchJobQuery,
    ("put", "/jobs/"): queries.JobSelection,
    ("delete", "/jobs/"): queries.JobSelection,
    ("get", "/batch-jobs/"): queries.BatchJobQuery,
    ("get", "/sessions/"): queries.SessionQuery,
    ("get", "/transfers/"): queries.TransferQuery,
    ("get", "/events/"): queries.EventQuery,
    ("get", "/analytics/summary"): queries.JobSelection,
}
WHOLE = {("get", "/alerts/")}  # a list that is always told whole


@pytest.fixture(scope="module")
def operations(password_server: PasswordServer) -> dict[tuple[str, str], Any]:
    paths = asking.get(f"{password_server.url}/openapi.json").json()["paths"]
    return {(method, path): found for path, methods in paths.items() for method, found in methods.items()}


def test_every_parameter_of_a_list_is_in_the_document(operations: dict[tuple[str, str], Any]) -> None:
    figures = [one for one in operations if one[1].startswith("/analytics/{subject}/")]
    assert len(figures) == 14
    every = [(figure, model) for figure in figures for model in SELECTIONS.values()]
    for operation, model in [*TAKEN.items(), *every]:
        named = {parameter["name"] for parameter in operations[operation]["parameters"]}
        assert set(model.model_fields) <= named, operation


def test_every_list_is_looked_at_here(operations: dict[tuple[str, str], Any]) -> None:
    lists = {(method, path) for method, path in operations if method == "get" and path.endswith("/")}
    assert lists - WHOLE <= set(TAKEN)
    assert not any(operations[one].get("parameters") for one in WHOLE)


def test_no_parameter_is_in_the_document_twice(operations: dict[tuple[str, str], Any]) -> None:
    for operation, found in operations.items():
        named = Counter((one["in"], one["name"]) for one in found.get("parameters", []))
        assert set(named.values()) <= {1}, operation


def test_the_document_tells_what_a_parameter_takes(operations: dict[tuple[str, str], Any]) -> None:
    schemas = {one["name"]: one["schema"] for one in operations["get", "/jobs/"]["parameters"]}
    assert schemas["limit"] == {
        "default": 100_000,
        "maximum": 100_000,
        "minimum": 0,
        "title": "Limit",
        "type": "integer",
    }
    states = schemas["state"]["anyOf"][0]
    assert states["type"] == "array" and "RUNNING" in states["items"]["enum"]
    assert "$ref" not in str(schemas)


def test_a_repeated_name_is_a_list_where_one_is_taken_and_else_the_last_counts(user: User) -> None:
    lab, client = Lab(user.client, hooks=[]), user.client
    first, second, _ = lab.create(3)
    found = client.get("/jobs/", {"id": [first, second]})
    assert [row["id"] for row in found["results"]] == [first, second]
    sent = asking.get(
        f"{client.api_root}/jobs/?id={first}&id={second}&limit=5&limit=1&unknown=1",
        headers={"authorization": f"Bearer {user.token}"},
    )
    assert [row["id"] for row in sent.json()["results"]] == [first]


def test_what_is_wrong_with_a_query_string_is_told_by_name(user: User) -> None:
    answer = asking.get(
        f"{user.client.api_root}/jobs/?limit=-1&id=1&id=x&ordering=nonsense&state=NONE",
        headers={"authorization": f"Bearer {user.token}"},
    )
    assert answer.status_code == 422
    told = {tuple(error["loc"]): error["type"] for error in answer.json()["detail"]}
    assert told == {
        ("query", "limit"): "greater_than_equal",
        ("query", "id", 1): "int_parsing",
        ("query", "ordering"): "enum",
        ("query", "state", 0): "enum",
    }
