"""The site's folder: made whole or not at all, found, refused."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from balsam.client.errors import ServerRefused
from balsam.client.transport import Client
from balsam.platform.machine import UnknownMachine
from balsam.runtime.settings import Settings
from balsam.runtime.site_folder import FolderInUse, NoSiteHere, SiteFolder, create_site_folder
from tests.services import EmbeddedServer
from tests.site.bench import Bench


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))[2:]


def test_a_new_site_has_the_published_files_with_their_modes(bench: Bench) -> None:
    expected = {
        ".balsam-site": "440",
        ".balsam-token.yml": "600",
        "settings.yml": "600",
        "job-template.sh": "700",
        "data": "755",
        "log": "755",
        "qsubmit": "700",
    }
    assert {name: mode(bench.site.path / name) for name in names(bench.site.path)} == expected
    assert (bench.site.path / ".balsam-site").read_text() == str(bench.site.site_id)
    assert bench.site.settings == Settings()


def test_the_server_knows_the_new_site_and_its_queues_at_once(bench: Bench) -> None:
    record = bench.client.get(f"/sites/{bench.site.site_id}")
    assert record["path"] == str(bench.site.path)
    assert record["allowed_projects"] == ["local"]
    assert record["allowed_queues"]["local"]["max_nodes"] == 1


def test_the_sites_token_opens_its_own_site_only(bench: Bench, owner: Client, tmp_path: Path) -> None:
    other = create_site_folder(tmp_path / "other", f"{tmp_path.name}-other", owner)
    with bench.site.client() as client:
        assert client.get(f"/sites/{bench.site.site_id}")["id"] == bench.site.site_id
        with pytest.raises(ServerRefused):
            client.put(f"/sites/{other.site_id}", {"allowed_projects": ["mine"]})


def test_an_existing_empty_folder_becomes_a_site(owner: Client, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    site = create_site_folder(folder, f"{tmp_path.name}-here", owner)
    assert site.site_id > 0 and (folder / "notes.txt").exists()


def test_a_site_is_not_made_twice_nor_inside_another(bench: Bench, owner: Client) -> None:
    with pytest.raises(FolderInUse, match="is a Balsam site already"):
        create_site_folder(bench.site.path, "again", owner)
    with pytest.raises(FolderInUse, match="lies inside the Balsam site"):
        create_site_folder(bench.site.data_path / "inner", "inner", owner)


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_sites_made_at_once_in_a_folder_one_is_whole(
    exists: bool, server: EmbeddedServer, tmp_path: Path
) -> None:
    """Two of anything: the other is refused with a sentence, and leaves no record."""
    path = tmp_path / "runs"
    if exists:
        path.mkdir()

    def make(number: int) -> SiteFolder | str:
        with server.client() as client:
            try:
                return create_site_folder(path, f"{tmp_path.name}-{number}", client)
            except FolderInUse as exc:
                return str(exc)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(4)))
    [site] = [one for one in made if isinstance(one, SiteFolder)]
    assert sum("is a Balsam site already" in str(one) for one in made) == 3, made
    with server.client() as client:
        known = {one["id"]: one["name"] for one in client.get("/sites/", {"path": str(path)})["results"]}
    assert list(known) == [site.site_id]
    with site.client() as client:
        assert client.get(f"/sites/{site.site_id}")["id"] == site.site_id
    assert names(tmp_path) == {"runs"}


def test_a_folder_that_holds_files_of_these_names_is_left_alone(owner: Client, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "settings.yml").write_text("mine")
    with pytest.raises(FolderInUse, match=r"holds settings.yml already"):
        create_site_folder(folder, "used", owner)
    assert (folder / "settings.yml").read_text() == "mine"


def test_a_taken_name_leaves_nothing_behind(bench: Bench, owner: Client, tmp_path: Path) -> None:
    taken = owner.get(f"/sites/{bench.site.site_id}")["name"]
    before = names(tmp_path)
    with pytest.raises(ServerRefused):
        create_site_folder(tmp_path / "second", taken, owner)
    assert names(tmp_path) == before


def test_a_folder_that_can_not_be_written_leaves_no_record(owner: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = len(owner.get("/sites/")["results"])
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        create_site_folder(tmp_path / "file" / "site", "nowhere", owner)
    assert len(owner.get("/sites/")["results"]) == before


def test_an_unknown_machine_leaves_nothing_behind(owner: Client, tmp_path: Path) -> None:
    with pytest.raises(UnknownMachine):
        create_site_folder(tmp_path / "site", "site-x", owner, machine="moon")
    assert names(tmp_path) == set()


def test_a_site_is_found_from_below(bench: Bench) -> None:
    inner = bench.site.data_path / "a" / "b"
    inner.mkdir(parents=True)
    found = SiteFolder.find(inner)
    assert found is not None and found.path == bench.site.path


def test_no_site_is_a_sentence(tmp_path: Path) -> None:
    assert SiteFolder.find(tmp_path) is None
    with pytest.raises(NoSiteHere, match="make one with `balsam site init"):
        SiteFolder(tmp_path)
