"""Apps of ours in the form that the validators of release 0.7 take: an optional parameter has a default."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from balsam.server.published import parameters
from tests.services import User


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"required": False, "default": "a"}, {"required": False, "default": "a"}),
        ({"required": False, "default": ""}, {"required": True, "default": None}),
        ({"required": False, "default": None}, {"required": True, "default": None}),
        ({"required": True, "default": "a"}, {"required": True, "default": None}),
        ({"required": True, "default": None}, {"required": True, "default": None}),
    ],
)
def test_parameters_are_valid_there(sent: dict[str, Any], shown: dict[str, Any]) -> None:
    assert parameters({"x": {**sent, "help": "h"}, "**": sent}) == {"x": {**shown, "help": "h"}}


def test_other_readers_get_what_was_registered(user: User) -> None:
    site = user.client.post("/sites/", {"name": "readers", "path": "/r"})
    spec = {"x": {"required": False, "default": ""}, "**": {"required": False}}
    app = {"site_id": site["id"], "name": "A", "serialized_class": "", "source_code": "", "parameters": spec}
    made = user.client.post("/apps/", app)
    assert made["parameters"]["**"]["required"] is False
    headers = {"User-Agent": "python-requests/2.32", "Authorization": f"Bearer {user.token}"}
    with httpx.Client(base_url=user.client.api_root, headers=headers) as theirs:
        found = theirs.get("/apps/").json()["results"] + [theirs.get(f"/apps/{made['id']}").json()]
        found.append(theirs.put(f"/apps/{made['id']}", json={"description": "d"}).json())
    assert [one["parameters"] for one in found] == [
        {"x": {"required": True, "default": None, "help": ""}}
    ] * 3
    assert user.client.get(f"/apps/{made['id']}")["parameters"] == made["parameters"]
