"""`balsam site mv` and `balsam site rename`."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.api import ApplicationDefinition, BatchJob, Job, JobState, Session, Site
from balsam.client.transport import Client
from balsam.runtime.site_folder import SiteFolder
from tests.cli.conftest import Balsam
from tests.waiting import wait_until


@pytest.fixture
def site(client: Client, balsam: Balsam, home: Path) -> Site:
    """The user's only site."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    return Site.objects.get(name="laptop")


def test_mv_moves_the_folder_and_tells_the_server(site: Site, balsam: Balsam, home: Path) -> None:
    (home / "runs" / "data" / "kept").write_text("all of it")
    said = balsam("site", "mv", "runs", "deep/er/place")
    assert said.status == 0, said.err
    target = home / "deep" / "er" / "place"
    assert not (home / "runs").exists()
    assert (target / "data" / "kept").read_text() == "all of it"
    assert SiteFolder(target).site_id == site.id
    assert Site.objects.get(id=site.id).path == target


def test_mv_of_a_link_moves_the_folder_that_it_leads_to(site: Site, balsam: Balsam, home: Path) -> None:
    (home / "link").symlink_to(home / "runs")
    assert balsam("site", "mv", "link", "place").status == 0
    assert not (home / "runs").exists() and not (home / "place").is_symlink()
    assert SiteFolder(home / "place").site_id == site.id


def test_mv_into_a_folder_keeps_the_name(site: Site, balsam: Balsam, home: Path) -> None:
    (home / "there").mkdir()
    assert balsam("site", "mv", "runs", "there").status == 0
    assert Site.objects.get(id=site.id).path == home / "there" / "runs"


def test_a_site_that_was_moved_works_on(
    site: Site, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Say(ApplicationDefinition):
        site = "laptop"
        command_template = "echo hello"

    Say.sync()
    assert balsam("site", "mv", "runs", "elsewhere").status == 0
    monkeypatch.chdir(home / "elsewhere")
    assert balsam("site", "start").status == 0
    try:
        job = Say.submit("say")
        BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
        assert Job.objects.wait([job], timeout=60).done[0].state is JobState.job_finished
        assert (home / "elsewhere" / "data" / "say" / "job.out").read_text() == "hello\n"
    finally:
        balsam("site", "stop")


def test_mv_is_refused_while_something_works_there(
    site: Site, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALSAM_SITE_PATH", str(home / "runs"))
    assert balsam("site", "start").status == 0
    try:
        wait_until(lambda: Session.objects.all().first() is not None)
        said = balsam("site", "mv", "runs", "elsewhere")
        assert said.status == 1 and "balsam site stop" in said.err
    finally:
        balsam("site", "stop")
    batch_job = BatchJob.objects.create(1, 10, "serial", site.id, "local", "local")
    said = balsam("site", "mv", "runs", "elsewhere")
    assert (
        said.status == 1 and f"{batch_job.id} (pending_submission)" in said.err and "queue term" in said.err
    )
    assert (home / "runs").exists() and not (home / "elsewhere").exists()
    assert Site.objects.get(id=site.id).path == home / "runs"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["runs", "runs/inside"], "inside"),
        (["runs", "file"], "file"),
        (["nothing", "elsewhere"], "nothing"),
        (["there", "elsewhere"], "is no Balsam site"),
    ],
)
def test_mv_refuses_what_can_not_be(
    words: list[str], named: str, site: Site, balsam: Balsam, home: Path
) -> None:
    (home / "there").mkdir()
    (home / "file").write_text("")
    said = balsam("site", "mv", *words)
    assert said.status != 0 and named in said.err
    assert SiteFolder(home / "runs").site_id == site.id


def test_mv_of_a_site_that_the_server_does_not_know_leaves_it(
    site: Site, client: Client, balsam: Balsam, home: Path
) -> None:
    client.delete(f"/sites/{site.id}")
    assert balsam("site", "mv", "runs", "elsewhere").status == 1
    assert (home / "runs").exists() and not (home / "elsewhere").exists()


def test_rename(site: Site, balsam: Balsam, home: Path) -> None:
    said = balsam("site", "rename", "runs", "theta")
    assert said.status == 0 and "was laptop" in said.out
    assert Site.objects.get(id=site.id).name == "theta"
    balsam("site", "init", "other", "-n", "taken")
    said = balsam("site", "rename", "runs", "taken")
    assert said.status == 1 and "'taken'" in said.err and str(home / "other") in said.err
    assert Site.objects.get(id=site.id).name == "theta"
    assert balsam("site", "rename", "runs", "theta").status == 0
    assert balsam("site", "rename", home, "x").status == 1


@pytest.mark.parametrize("name", ["all", "this", "active", "3", "a,b", " a", ""])
def test_names_that_no_selector_can_choose(site: Site, balsam: Balsam, home: Path, name: str) -> None:
    said = balsam("site", "rename", "runs", name)
    assert said.status == 2 and f"{name!r} can't be a site's name" in said.err
    assert Site.objects.get(id=site.id).name == "laptop"
    if name:
        assert balsam("site", "init", "another", "-n", name).status == 2
        assert not (home / "another").exists()


def test_a_selector_that_names_nothing(site: Site, balsam: Balsam) -> None:
    said = balsam("job", "ls", "--site", ",")
    assert said.status == 2 and "names no site" in said.err
