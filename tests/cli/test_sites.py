"""`balsam site`: making, listing and removing sites, and choosing among them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from balsam.api import ApplicationDefinition
from balsam.cli.site_selector import SiteView, choose
from balsam.cli.sites import agent_text, heard_at, since
from balsam.client.errors import AuthError, BrokenLogin
from balsam.client.login import SITE_TOKEN_FILE, load_login
from balsam.client.transport import Client
from balsam.core.clock import UtcDatetime
from balsam.runtime.settings import Settings
from balsam.runtime.site_folder import SiteFolder
from balsam.schemas.agents import AgentOut, RefusedAgent
from balsam.sdk.context import session
from balsam.server import daemon
from tests.cli.conftest import Balsam


class Echo(ApplicationDefinition):
    """An app whose source must stay as it is."""

    site = 0
    command_template = "echo {{ word }}"


NOW = datetime(2026, 5, 1, tzinfo=UTC)
SITES = [
    SiteView(1, "theta", "/projects/theta/site", NOW - timedelta(days=2)),
    SiteView(2, "laptop", "/home/ada/site", NOW - timedelta(seconds=20)),
    SiteView(12, "laptop-2", "/home/ada/other", NOW - timedelta(hours=1)),
]


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("all", [1, 2, 12]),
        ("", [1, 2, 12]),
        ("this", [2]),
        ("active", [2]),
        ("12", [12]),
        ("1,12", [1, 12]),
        ("laptop", [2]),
        ("/home/ada", [2, 12]),
        ("theta, other", [1, 12]),
        ("this,1,1", [1, 2]),
    ],
)
def test_selector_chooses(selector: str, chosen: list[int]) -> None:
    assert choose(selector, SITES, 2, NOW) == chosen


@pytest.mark.parametrize("selector", ["99", "frontera", "laptop,nowhere"])
def test_selector_that_matches_nothing_is_an_error_that_names_it(selector: str) -> None:
    with pytest.raises(click.BadParameter, match="no site matches"):
        choose(selector, SITES, 2, NOW)


def test_this_outside_of_a_site_is_an_error() -> None:
    with pytest.raises(click.BadParameter, match="inside a site folder"):
        choose("this", SITES, None, NOW)


def test_since_takes_the_largest_unit() -> None:
    now = datetime.now(UTC)
    assert since(now - timedelta(days=3, hours=2)) == "3 d ago"
    assert since(now - timedelta(minutes=5, seconds=9)) == "5 min ago"
    assert since(now + timedelta(seconds=5)) == "0 s ago"


def test_init_makes_a_site_that_works(client: Client, balsam: Balsam, home: Path) -> None:
    said = balsam("site", "init", "runs", "--name", "laptop")
    assert said.status == 0
    assert "balsam site start" in said.out
    folder = SiteFolder(home / "runs")
    record = client.get("/sites/")["results"][0]
    assert (record["id"], record["name"], record["path"]) == (folder.site_id, "laptop", str(home / "runs"))
    with folder.client() as agent:
        assert agent.get("/sites/")["results"][0]["id"] == folder.site_id


def test_init_takes_the_folders_name(client: Client, balsam: Balsam, home: Path) -> None:
    assert balsam("site", "init", home / "deep" / "runs").status == 0
    assert client.get("/sites/")["results"][0]["name"] == "runs"


def test_init_without_a_login_starts_a_server_and_says_how_to_stop_it(balsam: Balsam, home: Path) -> None:
    data = home / ".balsam" / "server"
    try:
        said = balsam("site", "init", "runs")
        assert said.status == 0
        url = daemon.status(data).url
        assert url is not None and url in said.out
        assert "balsam server stop" in said.out
        assert load_login() is not None
        assert SiteFolder(home / "runs").site_id
    finally:
        daemon.stop(data)


def test_a_taken_name_leaves_nothing_behind(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "one", "--name", "laptop")
    said = balsam("site", "init", "two", "--name", "laptop")
    assert said.status == 1
    assert "name" in said.err
    assert not (home / "two").exists()
    assert len(client.get("/sites/")["results"]) == 1


def test_a_folder_that_can_not_be_made_leaves_no_record(client: Client, balsam: Balsam, home: Path) -> None:
    (home / "file").write_text("")
    said = balsam("site", "init", "file/runs")
    assert said.status == 1
    assert "file" in said.err
    assert client.get("/sites/")["results"] == []


def test_a_taken_name_is_named_with_the_remedy(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs", "-n", "laptop")
    said = balsam("site", "init", "more/laptop")
    assert said.status == 1
    assert "'laptop'" in said.err and str(home / "runs") in said.err and "-n OTHER" in said.err
    assert not (home / "more" / "laptop").exists()


def test_missing_settings_name_the_remedy(
    client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("site", "init", "runs")
    settings = home / "runs" / "settings.yml"
    settings.unlink()
    monkeypatch.chdir(home / "runs")
    said = balsam("site", "start")
    assert said.status == 1
    assert f"balsam site sample-settings > {settings}" in said.err


def test_a_site_gets_a_new_token(
    client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("site", "init", "runs")
    site = SiteFolder(home / "runs")
    [old] = [one for one in client.get("/auth/site-tokens") if one["site_id"] == site.site_id]
    client.delete(f"/auth/site-tokens/{old['id']}")
    (home / "runs" / SITE_TOKEN_FILE).write_text("garbled")
    monkeypatch.chdir(home / "runs")
    with pytest.raises(BrokenLogin, match="balsam site token renew"):
        SiteFolder(site.path).client()
    assert balsam("site", "token", "renew").status == 0
    assert (home / "runs" / SITE_TOKEN_FILE).stat().st_mode & 0o077 == 0
    with SiteFolder(site.path).client() as agents:
        assert [one["id"] for one in agents.get("/sites/")["results"]] == [site.site_id]


def test_site_tokens_are_listed_and_revoked(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs")
    [_, row] = balsam("site", "token", "ls").out.splitlines()
    token_id, name = row.split()[:2]
    assert name == "runs"
    refused = balsam("site", "token", "revoke", token_id)
    assert refused.status == 2 and "-y" in refused.err
    with SiteFolder(home / "runs").client() as agents:
        agents.get("/sites/")
        assert balsam("site", "token", "revoke", token_id, "-y").status == 0
        with pytest.raises(AuthError):
            agents.get("/sites/")
    [_, row] = balsam("site", "token", "ls").out.splitlines()
    assert len(row.split()) == 6, "with the time of its end"
    assert balsam("site", "token", "revoke", "999999", "-y").status == 1


def test_a_site_in_a_site_is_refused(client: Client, balsam: Balsam) -> None:
    balsam("site", "init", "runs")
    said = balsam("site", "init", "runs/inner")
    assert said.status == 1
    assert "inside" in said.err
    assert balsam("site", "init", "runs").status == 1


def test_an_unknown_machine_is_named_with_those_there_are(client: Client, balsam: Balsam) -> None:
    said = balsam("site", "init", "runs", "--machine", "deepthought")
    assert said.status == 1
    assert "deepthought" in said.err and "local" in said.err


def test_ls_shows_names_and_paths(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs", "--name", "laptop")
    assert {"laptop", str(home / "runs")} <= set(balsam("site", "ls").out.split())
    assert "allowed_queues" in balsam("site", "ls", "-v").out
    header, row = balsam("site", "ls").out.splitlines()
    assert header.split() == ["ID", "Name", "Path", "Active", "Agent"] and row.endswith("No      never ran")


def told(state: str, seen: timedelta = timedelta(days=3), **values: Any) -> AgentOut:
    at = (datetime.now(UTC) - seen).replace(tzinfo=None).isoformat()
    place: dict[str, Any] = {"host": "login1", "path": "/a/site", "pid": 7, "since": at, "seen": at}
    return AgentOut(**{**place, "refused": None, **values}, state=state)


@pytest.mark.parametrize(
    ("agent", "heard", "text"),
    [
        (None, None, "never ran"),
        (None, "5 s ago", "last told of it 5 s ago"),  # of release 0.7
        (told("works"), "5 s ago", "works on login1"),
        (told("works", path="/a/copy"), "5 s ago", "works on login1 in /a/copy"),
        (told("stopped"), "5 s ago", "stopped 3 d ago"),
        (told("silent"), "5 s ago", "last heard of 3 d ago, on login1"),
        (
            told("works", refused=RefusedAgent(host="login2", path="/b", at="")),
            None,
            "works on login1; one on login2 in /b was not let in",
        ),
        (
            told("works", clock_ahead_us=-90_500_000),
            None,
            "works on login1; its clock is 90 s behind the server's",
        ),
        (told("works", trouble="squeue is away"), None, "works on login1; but: squeue is away"),
    ],
)
def test_ls_says_whether_the_agent_works(agent: AgentOut | None, heard: str | None, text: str) -> None:
    assert agent_text(agent, "/a/site", heard) == text


def test_an_agent_that_was_started_at_once_counts_as_heard_of() -> None:
    """Kind: one fact, whether an agent works, told from two sources that differ for a while."""
    made = UtcDatetime.parse((NOW - timedelta(days=4)).isoformat())
    agent = told("works")
    assert heard_at(agent, made, made) == UtcDatetime.parse(agent.seen)
    assert heard_at(None, made, made) is None
    assert heard_at(None, made, made + timedelta(minutes=1)) == made + timedelta(minutes=1)


def test_sites_are_active_whose_agents_work() -> None:
    views = [
        SiteView(1, "a", "/a", NOW - timedelta(seconds=5), works=False),
        SiteView(2, "b", "/b", NOW - timedelta(hours=1), works=True),
        SiteView(3, "c", "/c", NOW - timedelta(seconds=5)),
    ]
    assert choose("active", views, None, NOW) == [2, 3]


def test_start_and_sync_refuse_what_nothing_serves_and_tell_what_is_in_vain(
    client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("site", "init", "runs")
    site = SiteFolder(home / "runs")
    monkeypatch.chdir(site.path)
    site.settings_path.write_text("elastic_queue: {use_backfill: true}\n")
    for verb in ("start", "sync"):
        said = balsam("site", verb)
        assert said.status == 1 and f"{site.settings_path}, line 1: elastic_queue is turned on" in said.err
    site.settings_path.write_text("transfers: {transfer_locations: {laptop: 'file:///home'}}\n")
    said = balsam("site", "sync")
    assert said.status == 0 and "this release moves no files" in said.err
    assert "Site runs names transfer locations" in balsam("site", "ls").err


def test_rm_says_what_goes_asks_and_without_a_terminal_names_the_flags(
    client: Client, balsam: Balsam, home: Path
) -> None:
    balsam("site", "init", "runs", "-n", "laptop")
    (home / "runs" / "data" / "a").mkdir()
    (home / "runs" / "data" / "a" / "result.dat").write_bytes(bytes(2_000_000))
    said = balsam("site", "rm", "runs")
    assert said.status == 2 and "-y" in said.err
    assert "site laptop" in said.err and "0 apps and 0 jobs" in said.err
    assert "5 files (2.0 MB)" in said.err and str(home / "runs") in said.err
    assert (home / "runs" / "data" / "a" / "result.dat").exists()
    assert len(client.get("/sites/")["results"]) == 1


def test_rm_removes_record_and_files_and_spares_others(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs")
    balsam("site", "init", "other")
    (home / "other" / "my-notes.txt").write_text("keep")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("keep")
    (home / "other" / "data").rmdir()
    (home / "other" / "data").symlink_to(elsewhere)
    assert balsam("site", "rm", "-y", "runs").status == 0
    assert balsam("site", "rm", "-y", "other").status == 0
    assert not (home / "runs").exists()
    assert [path.name for path in (home / "other").iterdir()] == ["my-notes.txt"]
    assert (elsewhere / "kept").exists(), "what a link points to is not the site's"
    assert client.get("/sites/")["results"] == []


@pytest.mark.parametrize("meant", ["runs", "laptop", "me/run"])
def test_rm_by_force_removes_the_record_alone(meant: str, client: Client, balsam: Balsam, home: Path) -> None:
    """As release 0.7 does: of a folder, of a name, of a part of a path."""
    balsam("site", "init", "runs", "-n", "laptop")
    (home / "runs" / "data" / "result.dat").write_text("weeks of work")
    said = balsam("site", "rm", "-f", meant)
    assert "(None)" not in said.out, "a record that is removed has no id any more"
    assert said.status == 0 and f"Its files stay in {home / 'runs'}" in said.out
    assert (home / "runs" / "data" / "result.dat").read_text() == "weeks of work"
    assert (home / "runs" / "settings.yml").exists()
    assert client.get("/sites/")["results"] == []
    assert balsam("site", "rm", "-f", home / "runs").status == 1, "it has no record any more"
    assert balsam("site", "rm", "-y", home / "runs").status == 0
    assert not (home / "runs").exists()


def test_rm_of_a_fragment_of_several_paths_removes_none(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs-a")
    balsam("site", "init", "runs-b")
    said = balsam("site", "rm", "-f", "runs-")
    assert said.status == 1 and "runs-a" in said.err and "runs-b" in said.err
    assert balsam("site", "rm", "-f", "").status == 2
    assert len(client.get("/sites/")["results"]) == 2


@pytest.mark.parametrize("flag", ["-f", "-y"])
def test_rm_of_a_lost_folder_removes_the_record(
    flag: str, client: Client, balsam: Balsam, home: Path
) -> None:
    balsam("site", "init", "runs")
    (home / "runs").rename(home / "moved")
    assert balsam("site", "rm", "runs").status == 2
    assert balsam("site", "rm", flag, "runs").status == 0
    assert client.get("/sites/")["results"] == []
    assert (home / "moved" / "settings.yml").exists()


def test_rm_of_a_copy_spares_the_original(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs")
    shutil.copytree(home / "runs", home / "copy", symlinks=True)
    for flag in ("-f", "-y"):
        said = balsam("site", "rm", flag, "copy")
        assert said.status == 1 and "is a copy of the site in" in said.err
    assert len(client.get("/sites/")["results"]) == 1


def test_rm_of_no_site_says_so(client: Client, balsam: Balsam) -> None:
    said = balsam("site", "rm", "-f", "nothing")
    assert said.status == 2
    assert "no Balsam site" in said.err


def test_sync_publishes_the_settings_and_touches_no_app(
    client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("site", "init", "runs")
    site = SiteFolder(home / "runs")
    with session(client):
        Echo.site = site.site_id
        Echo.sync()
    [before] = client.get("/apps/")["results"]
    text = site.settings_path.read_text()
    site.settings_path.write_text(text.replace("    - local\n", "    - local\n    - newproj\n"))
    monkeypatch.chdir(site.path)
    said = balsam("site", "sync")
    assert said.status == 0, said.err
    assert "projects local, newproj" in said.out and "No agent works at" in said.out
    [record] = client.get("/sites/")["results"]
    assert record["allowed_projects"] == ["local", "newproj"]
    assert client.get("/apps/")["results"] == [before]
    asked = balsam("queue", "submit", "-n1", "-t10", "-qlocal", "-Anewproj", "-jserial")
    assert asked.status == 0, asked.err


def test_sync_of_wrong_settings_changes_nothing(
    client: Client, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("site", "init", "runs")
    (home / "runs" / "settings.yml").write_text("scheduler: {allowed_projects: [a], allowed_queue: {}}")
    monkeypatch.chdir(home / "runs")
    said = balsam("site", "sync")
    assert said.status == 1 and "did you mean scheduler.allowed_queues?" in said.err
    assert client.get("/sites/")["results"][0]["allowed_projects"] == ["local"]


def test_start_outside_of_a_site_says_where_it_works(client: Client, balsam: Balsam) -> None:
    said = balsam("site", "start")
    assert said.status == 2
    assert "site folder" in said.err


def test_sample_settings_can_be_used(home: Path, balsam: Balsam) -> None:
    assert Settings.parse(balsam("site", "sample-settings").out) == Settings()


def test_a_wrong_setting_is_one_sentence(client: Client, balsam: Balsam, home: Path) -> None:
    balsam("site", "init", "runs")
    settings = home / "runs" / "settings.yml"
    settings.write_text(settings.read_text().replace("idle_ttl_sec", "idle_tll_sec"))
    said = balsam("site", "start")
    assert said.status != 0
    assert "Traceback" not in said.err
