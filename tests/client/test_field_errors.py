"""What a validation found wrong, as sentences for a person."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.client.errors import ServerRefused
from balsam.client.field_errors import sentences
from balsam.client.transport import Client
from balsam.schemas.field_errors import sentence

RELATIVE = "Value error, must be relative to the site's data folder, and is absolute"


def of(message: str, *location: object) -> dict[str, Any]:
    return {"loc": list(location), "msg": message, "type": "any"}


@pytest.mark.parametrize(
    ("location", "message", "told"),
    [
        (("workdir",), RELATIVE, "workdir must be relative to the site's data folder, and is absolute"),
        (("num_nodes",), "Input should be greater than 0", "num_nodes should be greater than 0"),
        (("name",), "String should have at least 1 character", "name should have at least 1 character"),
        (("tags", "k"), "Field required", "tags.k is required"),
        (("x",), "JSON decode error", "x: JSON decode error"),
        ((), "Value error, nothing fits", "nothing fits"),
    ],
)
def test_a_fault_is_a_sentence_about_its_field(location: tuple[str, ...], message: str, told: str) -> None:
    assert sentence(location, message) == told


def test_items_are_numbered_only_where_there_are_several() -> None:
    detail = [of(RELATIVE, "body", 0, "workdir"), of("Input should be 1", "body", 3, "num_nodes")]
    assert sentences(detail[:1], 1).startswith("workdir must be relative")
    assert sentences(detail, 4).startswith("item 0: workdir must be relative")
    assert sentences(detail, 4).endswith("; item 3: num_nodes should be 1")


def test_places_of_a_request_are_not_named() -> None:
    assert sentences([of("Input should be a number", "query", "limit"), "odd"]) == (
        "limit should be a number; odd"
    )


def test_the_servers_answers_become_such_sentences(client: Client) -> None:
    job = {"workdir": "/absolute", "app_id": 1}
    with pytest.raises(ServerRefused, match=r"^workdir must be relative"):
        client.post("/jobs/", [job])
    with pytest.raises(ServerRefused, match="item 1: workdir must be relative"):
        client.post("/jobs/", [{**job, "workdir": "fine"}, job])
