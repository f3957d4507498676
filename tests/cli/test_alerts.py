"""`balsam alert`: rules as a user makes and sees them, sent by a server of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client.transport import Client
from tests.cli.conftest import Balsam
from tests.server.receivers import Webhook
from tests.services import free_port


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def no_rules(client: Client) -> None:
    for rule in client.get("/alerts/rules"):
        client.delete(f"/alerts/rules/{rule['id']}")


def test_a_rule_from_its_making_to_its_end(balsam: Balsam, client: Client, hook: Webhook, home: Path) -> None:
    client.post("/sites/", {"name": "laptop", "path": "/a/laptop"})
    (home / "secret").write_text("of the receiver\n")
    assert "No alert rules" in balsam("alert", "ls").out
    assert balsam("alert", "ls", "--json").out == "[]\n"
    words = ("failure-rate", "--webhook", hook.url, "--site", "laptop", "-t", "lane=a", "--minutes", 30)
    said = balsam("alert", "add", *words, "--threshold", 0.5, "--secret-file", home / "secret")
    assert said.status == 0, said.err
    assert "failure-rate, at least 0.5 of 10 jobs and more in 30 min" in said.out
    [rule] = client.get("/alerts/rules")
    assert rule["tags"] == {"lane": "a"} and rule["signed"]
    listed = balsam("alert", "ls").out
    assert "laptop lane=a" in listed and hook.url in listed and "of the receiver" not in listed
    [row] = json.loads(balsam("alert", "ls", "--json").out)
    assert row == {**rule, "condition": row["condition"], "of": "laptop lane=a", "last_message": ""}
    assert (
        balsam("alert", "ls", "--csv", "--columns", "id,tags").out
        == f'id,tags\n{rule["id"]},"{{""lane"": ""a""}}"\n'
    )
    said = balsam("alert", "test", rule["id"])
    assert (said.status, said.out) == (0, "The message was taken.\n"), said.err
    assert hook.posted[0].body["text"].startswith(f"This is a test of alert rule {rule['id']}")
    assert "balsam-signature" in hook.posted[0].headers
    assert "sent 20" in balsam("alert", "ls").out
    asked = balsam("alert", "rm", rule["id"])
    assert (
        asked.status == 2
        and f"alert rule {rule['id']}" in asked.err
        and len(client.get("/alerts/rules")) == 1
    )
    assert balsam("alert", "rm", "-y", rule["id"]).status == 0
    assert client.get("/alerts/rules") == []


def test_a_receiver_that_is_not_there_is_told(balsam: Balsam, home: Path, client: Client) -> None:
    (home / "url").write_text(f"http://127.0.0.1:{free_port()}/of-somebody\n")
    assert balsam("alert", "add", "site-down", "--webhook-file", home / "url").status == 0
    [rule] = client.get("/alerts/rules")
    said = balsam("alert", "test", rule["id"])
    assert said.status == 1 and "127.0.0.1 could not be reached" in said.err
    listed = balsam("alert", "ls").out
    assert f"rule {rule['id']}: a message did not arrive: 127.0.0.1 could not" in listed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("site-down",), "Where to?"),
        (("site-down", "--webhook", "http://x/", "--mail", "a@b.org"), "Where to?"),
        (("nonsense", "--webhook", "http://x/"), "failure_rate"),
        (("site-down", "--webhook", "x"), "https://"),
        (("site-down", "--mail", "ada@example.org"), "sends no mail"),
        (("site-down", "--webhook", "http://x/", "-t", "a=b"), "tags"),
        (("site-down", "--webhook", "http://x/", "--site", "nowhere"), "no site matches"),
    ],
)
def test_what_can_not_be_meant_so_is_said(
    balsam: Balsam, client: Client, words: tuple[str, ...], says: str
) -> None:
    said = balsam("alert", "add", *words)
    assert said.status in (1, 2) and says in said.err


def test_rules_that_are_not_there(balsam: Balsam, client: Client) -> None:
    for words in (["rm", "-y"], ["test"]):
        said = balsam("alert", *words, 10**6)
        assert said.status == 1 and "balsam alert ls" in said.err
