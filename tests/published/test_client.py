"""A user's script goes through the whole public interface; what it is told is compared value by value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.published.release import Account, Release
from tests.services import PasswordServer

EXPECTED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "surface.json").read_text())

# Where our server answers that client otherwise, on purpose.
MENDED: dict[str, dict[str, Any]] = {
    "batch_jobs": {"query update": "returned 2"},  # there is such a route now
    "transfers": {"query update": "returned 2"},
    "sessions": {"the rest": ["run/5", "run/1"]},  # in the order in which they are to run
}
# Where our SDK answers otherwise, on purpose.
OURS: dict[str, dict[str, Any]] = {
    "sites": {"shown": ["agent", "allowed_projects", "allowed_queues"]},  # a field that we add
    "jobs": {  # the app has no hooks, so its jobs are PREPROCESSED at once
        "submitted": EXPECTED["jobs"]["submitted"] | {"state": "PREPROCESSED"},
        "by states": 1,
        "not in state": ["demo/one", "demo/add", "demo/by-name", *(f"bulk/{i}" for i in range(6))],
        "its event": [{}],
        "after them": [
            ["PREPROCESSED", tag, nodes]
            for tag, nodes in zip(["0", "1", "2", "33", "4", "5"], [1, 1, 1, 1, 3, 1], strict=True)
        ],
        "refreshed": ["PREPROCESSED"] * 4,
        "bulk update": "returned 0",  # these return how many jobs they changed
        "mixed update": "returned 2",
        "query update of none": 0,
    },
    "batch_jobs": {
        "cli": "--part mpi:1:a=1",  # not Python's name of the enum's member
        "query update": "returned 2",
    },
    "sessions": {
        "the rest": ["run/5", "run/1"],
        "of states": [],  # no job waits for a preprocess() that is not there
        "under the limit": "ServerRefused",
    },
    "transfers": {"staged": "PREPROCESSED", "delete": "NotImplementedError", "query update": "returned 2"},
    "events": {"by data": 0, "unknown state": "ValueError"},
    "reports": {  # the server's: without a RUNNING job that no session held, with a launcher still at work
        "utilization": [],
        "available": [["time", "time"], [1.0, 1.0]],
    },
}


def test_the_published_client_is_answered_as_ever(
    published: Release, new_account: Callable[[], Account]
) -> None:
    told = new_account().script(published, "surface.py")
    assert told.keys() == EXPECTED.keys()
    for name, said in told.items():
        assert said == EXPECTED[name] | MENDED.get(name, {}), name


def test_the_same_script_works_with_our_sdk(ours: Release, new_account: Callable[[], Account]) -> None:
    told = new_account().script(ours, "surface.py")
    assert told.keys() == EXPECTED.keys()
    for name, said in told.items():
        assert said == EXPECTED[name] | OURS.get(name, {}), name


def test_the_published_command_line_registers_and_logs_in(
    published: Release, password_server: PasswordServer, new_account: Callable[[], Account]
) -> None:
    account = new_account()
    account.login.unlink()
    name = f"{account.user.name}-too"
    secret = "a good password"
    said = account.balsam(
        published, "register", "-a", password_server.url, "-u", name, typed=f"{secret}\n{secret}\n"
    )
    assert "Registration success" in said
    said = account.balsam(published, "login", "-u", password_server.url, typed=f"{name}\n{secret}\n")
    assert "Logged In" in said
    account.balsam(published, "job", "ls")


def test_the_published_command_line_shows_and_changes(
    published: Release, new_account: Callable[[], Account]
) -> None:
    account = new_account()
    account.script(published, "hello_app.py")
    tag = ["--tag", "exp=cli"]
    create = ["job", "create", "--site", "lab", "-a", "Hello", "-w", "cli/1", "-p", "name=alice", "-y"]
    assert "cli/1" in account.balsam(published, *create, *tag)
    assert "cli/1" in account.balsam(published, "job", "ls", *tag)
    assert "Hello" in account.balsam(published, "app", "ls", "--site", "lab")
    assert "lab" in account.balsam(published, "site", "ls")


def test_the_published_client_reads_apps_of_ours_that_it_could_not_express(
    published: Release, ours: Release, new_account: Callable[[], Account]
) -> None:
    account = new_account()
    account.script(ours, "define_optional.py")
    told = account.script(published, "read_optional.py")
    assert told["apps"] == {"Keywords": ["x", "y", "z"], "Empty": ["x", "y"]}
    assert (told["loaded"], told["jobs"]) == (["Empty", "Keywords"], 1)
