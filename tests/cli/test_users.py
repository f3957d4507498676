"""`balsam login` and `balsam register`, without a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from balsam.client.errors import AuthError
from balsam.client.login import Login, load_login, login_path, save_login
from balsam.server import daemon
from tests.cli.conftest import Balsam
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which users may register."""
    data, port = tmp_path_factory.mktemp("shared-server"), daemon.free_port()
    command = [
        sys.executable,
        "-m",
        "balsam.server.main",
        "--data",
        str(data),
        "--port",
        str(port),
        "--accounts",
    ]
    with (data / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        wait_until(lambda: daemon.answers(port), timeout=60, on_timeout=(data / "log").read_text)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def password(home: Path) -> Path:
    file = home / "password"
    file.write_text("correct horse battery\n")
    return file


def test_register_makes_a_user_and_logs_in(
    balsam: Balsam, shared_url: str, password: Path, tmp_path: Path
) -> None:
    said = balsam("register", "-a", shared_url, "-u", "ada", "--password-file", password)
    assert (said.status, said.err) == (0, "")
    login = load_login()
    assert login is not None and login.api_root == shared_url
    assert login_path().stat().st_mode & 0o077 == 0
    assert balsam("site", "ls").status == 0


def test_login_with_a_password_file(balsam: Balsam, shared_url: str, password: Path) -> None:
    balsam("register", "-a", shared_url, "-u", "grace", "--password-file", password)
    login_path().unlink()
    said = balsam("login", "-u", shared_url, "--username", "grace", "--password-file", password)
    assert (said.status, said.err) == (0, "")
    assert "grace" in said.out
    assert balsam("site", "ls").status == 0


def test_a_wrong_password_is_one_sentence(balsam: Balsam, shared_url: str, password: Path) -> None:
    said = balsam("login", "-u", shared_url, "--username", "nobody", "--password-file", password)
    assert said.status == 1
    assert "does not know this username" in said.err
    assert load_login() is None


def test_a_taken_username_is_one_sentence(balsam: Balsam, shared_url: str, password: Path) -> None:
    balsam("register", "-a", shared_url, "-u", "mary", "--password-file", password)
    said = balsam("register", "-a", shared_url, "-u", "mary", "--password-file", password)
    assert said.status == 1
    assert len(said.err.splitlines()) == 1


def test_without_a_terminal_the_missing_flag_is_named(
    balsam: Balsam, shared_url: str, password: Path
) -> None:
    assert "--username" in balsam("login", "-u", shared_url).err
    said = balsam("login", "-u", shared_url, "--username", "ada")
    assert said.status == 2
    assert "--password-file" in said.err and "Usage:" not in said.err


def test_a_server_without_tls_elsewhere_is_warned_of(balsam: Balsam) -> None:
    assert "not encrypted" in balsam("register", "-a", "http://balsam.example").err
    assert "not encrypted" not in balsam("register", "-a", "https://balsam.example").err


def test_a_login_elsewhere_is_not_replaced_without_force(
    balsam: Balsam, shared_url: str, password: Path
) -> None:
    save_login(Login(api_root="https://elsewhere.example", token="t"))
    words = ["-a", shared_url, "-u", "joan", "--password-file", password]
    said = balsam("register", *words)
    assert said.status == 2
    assert "--force" in said.err
    assert balsam("register", *words, "--force").status == 0


def test_an_expired_login_says_to_log_in_again(balsam: Balsam, shared_url: str) -> None:
    save_login(Login(api_root=shared_url, token="no such token"))
    said = balsam("job", "ls")
    assert said.status == 1
    assert "balsam login" in said.err


def test_no_login_says_what_to_do(balsam: Balsam) -> None:
    said = balsam("job", "ls")
    assert said.status == 1
    assert "balsam login" in said.err and "balsam server start" in said.err


def test_a_server_out_of_reach_is_named(balsam: Balsam) -> None:
    url = f"http://127.0.0.1:{daemon.free_port()}"
    save_login(Login(api_root=url, token="t"))
    said = balsam("job", "ls")
    assert said.status == 1
    assert url in said.err
    assert "Traceback" not in said.err


def test_a_spoilt_login_file_is_named(balsam: Balsam) -> None:
    login_path().parent.mkdir()
    login_path().write_text("nonsense")
    said = balsam("job", "ls")
    assert said.status == 1
    assert str(login_path()) in said.err
    assert len(said.err.splitlines()) == 1 and "balsam login -f" in said.err


def test_a_forced_login_replaces_a_spoilt_file(balsam: Balsam, shared_url: str, password: Path) -> None:
    login_path().parent.mkdir()
    login_path().write_text("{")
    words = ["-u", "edith", "--password-file", password]
    assert balsam("register", "-a", shared_url, *words).status == 1
    assert balsam("register", "-a", shared_url, *words, "-f").status == 0
    login_path().write_text("{")
    assert balsam("login", "-f", "-u", shared_url, "--username", *words[1:]).status == 0
    assert balsam("site", "ls").status == 0


def test_login_without_url_finds_the_own_server(balsam: Balsam, home: Path) -> None:
    balsam("server", "start")
    try:
        login_path().unlink()
        assert balsam("login").status == 0
        assert balsam("site", "ls").status == 0
    finally:
        balsam("server", "stop")


def test_login_without_anything_says_what_to_do(balsam: Balsam) -> None:
    said = balsam("login")
    assert said.status == 2
    assert "balsam server start" in said.err


def test_a_login_is_renewable_unless_a_long_token_is_wanted(
    balsam: Balsam, shared_url: str, password: Path
) -> None:
    balsam("register", "-a", shared_url, "-u", "hedy", "--password-file", password)
    login = load_login()
    assert login is not None and login.refresh_token and login.username == "hedy"
    words = ["-u", shared_url, "--username", "hedy", "--password-file", password]
    assert balsam("login", *words, "--long-token").status == 0
    login = load_login()
    assert login is not None and login.refresh_token is None
    assert balsam("site", "ls").status == 0


def test_logout_ends_the_login_on_the_server_and_forgets_it(
    balsam: Balsam, shared_url: str, password: Path
) -> None:
    balsam("register", "-a", shared_url, "-u", "emmy", "--password-file", password)
    login = load_login()
    assert login is not None
    said = balsam("logout")
    assert (said.status, said.err) == (0, "") and shared_url in said.out
    assert load_login() is None
    with login.client() as client, pytest.raises(AuthError):
        client.get("/sites/")
    assert "balsam login" in balsam("logout").err


def test_logins_are_listed_and_others_ended(balsam: Balsam, shared_url: str, password: Path) -> None:
    words = ["-u", shared_url, "--username", "lise", "--password-file", password]
    balsam("register", "-a", shared_url, "-u", "lise", "--password-file", password)
    other = load_login()
    balsam("login", *words)
    rows = balsam("logout", "--list").out.splitlines()
    assert len(rows) == 3 and "this one" in rows[2] and "password" in rows[1]
    assert balsam("logout", "--id", rows[1].split()[0]).status == 0
    assert other is not None
    with other.client() as client, pytest.raises(AuthError):
        client.get("/sites/")
    balsam("login", *words)
    asked = balsam("logout", "--all")
    assert asked.status == 2 and "End this login and 1 other" in asked.err and "-y" in asked.err
    assert balsam("logout", "--all", "-y").status == 0
    balsam("login", *words)
    assert len(balsam("logout", "--list").out.splitlines()) == 2


def test_a_login_is_forgotten_where_its_server_is_away(balsam: Balsam) -> None:
    save_login(Login(f"http://127.0.0.1:{daemon.free_port()}", "t"))
    said = balsam("logout")
    assert said.status == 1 and "forgotten here" in said.err
    assert load_login() is None


@pytest.mark.parametrize("flag", ["--device", "--browser"])
def test_a_way_that_is_not_offered_is_refused_with_those_that_are(
    balsam: Balsam, shared_url: str, flag: str
) -> None:
    said = balsam("login", "-u", shared_url, flag)
    assert said.status == 1 and "--username NAME" in said.err
    assert balsam("login", "-u", shared_url, flag, "--username", "x").status == 2


def test_a_ca_file_is_remembered_by_its_whole_path(
    balsam: Balsam, shared_url: str, password: Path, home: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(home / "ca.pem")
    balsam("register", "-a", shared_url, "-u", "vera", "--password-file", password, "--ca-file", "ca.pem")
    login = load_login()
    assert login is not None and login.ca_file == str((home / "ca.pem").resolve())


def test_too_many_failed_logins_are_one_sentence_with_the_time(
    balsam: Balsam, shared_url: str, password: Path
) -> None:
    words = ["login", "-u", shared_url, "--username", "nobody at all", "--password-file", password]
    said = [balsam(*words).err for _ in range(11)]
    assert "does not know this username" in said[9]
    assert "too many failed logins as this user: try again in" in said[10] and "server's log" not in said[10]
