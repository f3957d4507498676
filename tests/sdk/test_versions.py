"""Versions of apps: what makes one, who replaces whose code, and what is told of it.

The kind of fault: an app's code is known by its name alone, so that an edited class runs the old code.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from balsam.api import App, ApplicationDefinition, Job, Site
from balsam.schemas import deserialize
from balsam.sdk.class_payload import class_payload
from balsam.sdk.registration import Action, action
from tests.services import User

Apps = type[ApplicationDefinition]
EDITED = """
from balsam.api import ApplicationDefinition
{helper}
class Edited(ApplicationDefinition):
    site = "lab"
    def run(self):
        return helper()
"""
SUBMIT = "jobs = [Edited.submit(f'w/{i}') for i in range(3)]"


@pytest.mark.parametrize(
    ("registered", "may_replace", "expected"),
    [
        (None, True, Action.create),
        (None, False, Action.create),
        ("same", True, Action.keep),
        ("other", True, Action.replace),
        ("", True, Action.replace),
        ("other", False, Action.keep),
    ],
)
def test_what_the_first_use_of_a_class_does(
    registered: str | None, may_replace: bool, expected: Action
) -> None:
    assert action(registered, "same", may_replace=may_replace) is expected


@pytest.fixture
def run_script(me: User, lab: Site, tmp_path: Path) -> Any:
    """Runs the class with one body of its helper in a process of its own; what it writes to stderr."""
    client = f"from balsam.client.transport import Client; c = Client({me.client.api_root!r}, {me.token!r})"
    use = f"{client}\nfrom balsam.sdk.context import use_client; use_client(c)"

    def run(result: int, use_it: str = SUBMIT) -> str:
        script = tmp_path / "script.py"
        defined = EDITED.format(helper=f"def helper():\n    return {result}\n")
        script.write_text(f"{use}\n{defined}\n{use_it}\n")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def test_an_edited_class_is_synced_by_submit_and_an_unchanged_one_is_not(run_script: Any) -> None:
    run_script(1)
    app = App.objects.get(name="Edited")
    assert app.version == 1
    run_script(1)
    assert [one.number for one in app.versions()] == [1]
    told = run_script(2)
    assert "version 2 replaces version 1 (helper changed)" in told
    assert "Edited at site lab" in told
    newest, first = app.versions()
    assert (newest.number, newest.changed, newest.restores) == (2, ["helper"], None)
    assert first.changed is None
    assert newest.synced_by is not None and newest.synced_by.endswith("script.py")
    assert newest.created is not None and first.created is not None
    assert newest.created >= first.created


def test_an_older_class_wins_and_the_log_warns(run_script: Any) -> None:
    for result in (1, 2):
        run_script(result)
    told = run_script(1)
    assert "version 3 replaces version 2" in told
    assert "its code is that of version 1 again" in told
    assert [one.restores for one in App.objects.get(name="Edited").versions()] == [1, None, None]


@pytest.mark.parametrize(
    "use_it",
    [
        "from balsam.api import Job; Job('w', Edited).save()",
        "from balsam.api import Job; Job.objects.create('w', Edited)",
        "from balsam.api import Job; Job.objects.bulk_create([Job('w', Edited), Job('v', Edited)])",
        "Edited.sync()",
    ],
)
def test_every_way_to_create_by_class_syncs_it(run_script: Any, use_it: str) -> None:
    run_script(1, use_it)
    run_script(2, use_it)
    assert App.objects.get(name="Edited").version == 2


def test_many_submits_ask_once(me: User, lab: Site, caplog: pytest.LogCaptureFixture) -> None:
    class Often(ApplicationDefinition):
        site = "lab"
        command_template = "true"

    caplog.set_level(logging.INFO, logger="httpx")
    Often.submit("w")
    caplog.clear()
    for number in range(20):
        Often.submit(f"w/{number}")
    assert len([r for r in caplog.records if r.name == "httpx"]) <= 20


def test_a_class_that_is_changed_in_place_is_synced_again(hello: Apps) -> None:
    hello.submit("w", name="x")
    hello.command_template = "echo other {{ greeting }} {{ name }}"
    hello.submit("v", name="x")
    assert App.objects.get(name="Hello").version == 2


def test_sync_makes_a_version_of_another_text_and_none_of_the_same(hello: Apps) -> None:
    hello.sync()
    app = App.objects.get(name="Hello")
    assert app.version == 1
    app.source_code = "# another comment\n" + app.source_code
    app.save()
    assert app.version == 2
    hello.submit("w", name="x")
    assert App.objects.get(name="Hello").version == 2


def test_a_class_from_the_server_replaces_neither_code_nor_source(add: Apps) -> None:
    before = App.objects.get(name="Add")
    loaded = ApplicationDefinition.load_by_name("Add")
    by_value: Apps = deserialize(class_payload(add))

    class Add(ApplicationDefinition):
        site = "lab"

        def run(self, x: int, y: int = 2) -> int:
            return x - y

    Add.submit("w", x=1)
    newer = App.objects.get(name="Add")
    assert newer.version == 2 and newer.source_code != before.source_code
    for old in (loaded, by_value):
        job = old.submit("w", x=1)
        assert job.app_id == newer.id
        now = App.objects.get(name="Add")
        assert (now.version, now.serialized_class) == (2, newer.serialized_class)
    loaded.sync()  # asked for as such: the older code, under the text that is known
    now = App.objects.get(name="Add")
    assert (now.version, now.source_code) == (3, newer.source_code)


def test_a_class_that_came_by_value_registers_what_was_never_registered(lab: Site, add: Apps) -> None:
    class Unknown(ApplicationDefinition):
        site = "lab"
        command_template = "true"

    came: Apps = deserialize(class_payload(Unknown))
    came.submit("w")
    assert App.objects.get(name="Unknown").source_code.startswith("# source code not available")


def test_a_filter_syncs_nothing(hello: Apps) -> None:
    hello.command_template = "echo {{ name }}"
    assert Job.objects.filter(app_id=hello).count() == 0
    assert App.objects.get(name="Hello").version == 1


def test_an_older_clients_changes_are_versions_too(bare_app: App) -> None:
    bare_app.serialized_class = "abc"
    bare_app.save()
    bare_app.description = "no code"
    bare_app.save()
    assert [(one.number, one.changed) for one in bare_app.versions()] == [(2, None), (1, None)]


def test_the_text_is_that_of_the_code_even_where_the_file_was_edited_since(
    lab: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_apps.py"
    file.write_text(EDITED.format(helper="def helper():\n    return 1\n"))
    import edited_apps  # type: ignore[import-not-found]

    file.write_text("# nothing is left\n")
    edited_apps.Edited.sync()
    assert "return helper()" in App.objects.get(name="Edited").source_code
