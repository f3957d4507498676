"""The login file and which client a process acts through."""

from __future__ import annotations

import os
import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from balsam.api import Site
from balsam.client.errors import BrokenLogin, NotLoggedIn
from balsam.client.login import Login, find_site_path, load_login, login_path, save_login
from balsam.client.transport import Client
from balsam.config import ClientSettings
from balsam.sdk.context import default_client, session, use_client
from tests.services import User


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login, no site: a home and a working directory with nothing in them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BALSAM_CLIENT_PATH", raising=False)
    monkeypatch.delenv("BALSAM_SITE_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_login_is_private_and_comes_back(tmp_path: Path) -> None:
    login = Login("http://server", "secret", datetime(2026, 1, 2, 3, 4, 5, 6), ca_file="/ca.pem")
    save_login(login)
    path = login_path()
    assert path == tmp_path / ".balsam" / "client.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_login() == login
    assert yaml.safe_load(path.read_text())["token_expiry"] == datetime(2026, 1, 2, 3, 4, 5, 6)
    assert [file.name for file in path.parent.iterdir()] == ["client.yml"]


def test_saving_replaces_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "client.yml"
    path.write_text("api_root: old")
    path.chmod(0o644)
    save_login(Login("http://new"), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_login(path) == Login("http://new")


def test_a_published_login_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.yml"
    path.write_text(
        "api_root: http://server\nclient_class: balsam.client.BasicAuthRequestsClient\n"
        "token: abc\ntoken_expiry: 2026-11-24 12:20:37.480357\nconnect_timeout: 3.1\nunknown: 1\n"
    )
    monkeypatch.setenv("BALSAM_CLIENT_PATH", str(path))
    login = load_login()
    assert login is not None
    assert (login.token, login.connect_timeout, login.retry_count) == ("abc", 3.1, 10)
    assert login.token_expiry == datetime(2026, 11, 24, 12, 20, 37, 480357)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"other\.yml"):
        load_login()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "nonsense",
        "api_root: 3",
        "api_root: server",
        "api_root: http://s\ntoken: [1]",
        'api_root: http://s\ntoken: "a\\nb"',
        "api_root: http://s\ntoken: sch\u00f6n",
        "api_root: http://s\nread_timeout: long",
        b"\xff\xfe",
    ],
)
def test_a_broken_login_file_is_one_sentence_with_its_remedy(text: str | bytes) -> None:
    path = login_path()
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for use in (Site.objects.all, ClientSettings.load_from_file):
        with pytest.raises(BrokenLogin, match=r"client\.yml holds no login.*`balsam login -f`"):
            use()


def test_a_login_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenLogin, match="can't be read: Is a directory"):
        load_login(tmp_path)


def test_saving_leaves_no_draft_behind(tmp_path: Path) -> None:
    path = tmp_path / "client.yml"
    save_login(Login("http://server", "token"), path)
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        save_login(Login("http://server", "token"), path)
    assert list(tmp_path.iterdir()) == [path]


def test_no_login_names_the_remedies() -> None:
    with pytest.raises(NotLoggedIn, match=r"client\.yml.*balsam login.*balsam server start"):
        Site.objects.all()
    with pytest.raises(NotLoggedIn):
        ClientSettings.load_from_file()


def test_the_login_file_is_used_and_a_new_login_noticed(user: User) -> None:
    ClientSettings(user.client.api_root, token=user.token).save_to_file()
    assert Site.objects.count() == 0
    client = default_client()
    assert default_client() is client
    save_login(Login(user.client.api_root, "another token"))
    assert default_client() is not client
    client.close()
    default_client().close()


def test_a_site_folders_token_serves_where_no_login_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "data" / "job").mkdir(parents=True)
    (site / ".balsam-site").write_text("1")
    save_login(Login("http://of-site", "t"), site / ".balsam-token.yml")
    monkeypatch.chdir(site / "data" / "job")
    assert find_site_path() == site
    with default_client() as client:
        assert client.api_root == "http://of-site"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BALSAM_SITE_PATH", str(site))
    assert find_site_path() == site
    with default_client() as client:
        assert client.api_root == "http://of-site"


def test_a_chosen_client_comes_first_for_all_threads() -> None:
    with Client("http://chosen") as chosen, Client("http://block") as block:
        seen: list[Client] = []
        with use_client(chosen):
            with session(block):
                assert default_client() is block
                thread = threading.Thread(target=lambda: seen.append(default_client()))
                thread.start()
                thread.join()
            assert default_client() is chosen
        assert seen == [chosen]
        with pytest.raises(NotLoggedIn):
            default_client()


def test_the_home_folder_is_made_private() -> None:
    from balsam.config import balsam_home

    assert stat.S_IMODE(balsam_home().stat().st_mode) == 0o700
    assert os.access(balsam_home(), os.W_OK)
