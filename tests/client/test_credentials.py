"""One login in one file, which many threads and processes use and renew."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from balsam.client import login_flows
from balsam.client.credentials import MARGIN, SharedLogin, replace_login
from balsam.client.errors import AuthError, BrokenLogin
from balsam.client.login import Login, load_login, save_login
from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.sdk.context import default_client
from tests.services import PasswordServer, User
from tests.waiting import wait_until

SHORT_SEC = 3.0


class Desk:
    """Renews as a server does: each refresh token serves once."""

    def __init__(self, life_sec: float = 900.0) -> None:
        self.life_sec = life_sec
        self.asked: list[str] = []

    def login(self) -> Login:
        expiry = datetime.now(UTC) + timedelta(seconds=self.life_sec)
        return Login("http://server", "token-0", expiry, refresh_token="refresh-0", username="ada")

    def renew(self, refresh_token: str) -> dict[str, Any]:
        number = len(self.asked)
        assert refresh_token == f"refresh-{number}", "an old refresh token came back"
        self.asked.append(refresh_token)
        return {
            "access_token": f"token-{number + 1}",
            "refresh_token": f"refresh-{number + 1}",
            "expires_in": self.life_sec,
        }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.yml"


def stored(path: Path, login: Login) -> Login:
    save_login(login, path)
    found = load_login(path)
    assert found is not None
    return found


def test_a_token_that_serves_is_sent_without_a_look_at_the_file(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, desk.login())  # there is no file
    assert {shared.token(desk.renew) for _ in range(3)} == {"token-0"} and desk.asked == []


def test_a_token_that_has_run_out_is_renewed_and_stored_privately(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, stored(path, replace(desk.login(), token_expiry=datetime.now(UTC))))
    assert shared.token(desk.renew) == "token-1" == shared.token(desk.renew)
    found = load_login(path)
    assert found is not None and (found.token, found.refresh_token) == ("token-1", "refresh-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(desk.asked) == 1


def test_what_another_process_has_renewed_is_taken_from_the_file(path: Path) -> None:
    desk = Desk()
    one, other = (SharedLogin(path, stored(path, desk.login())) for _ in range(2))
    assert one.after_refusal("token-0", desk.renew) == "token-1"
    assert other.after_refusal("token-0", desk.renew) == "token-1"
    assert len(desk.asked) == 1


def test_threads_that_are_refused_together_renew_once(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, stored(path, desk.login()))
    got: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: got.append(shared.after_refusal("token-0", desk.renew)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["token-1"] * 8 and len(desk.asked) == 1


def test_a_login_that_can_not_be_renewed_takes_a_newer_one_of_the_same_user(path: Path) -> None:
    login = Login("http://server", "old", username="ada")
    shared = SharedLogin(path, stored(path, login))
    assert shared.after_refusal("old", Desk().renew) is None
    save_login(replace(login, token="new"), path)
    assert shared.after_refusal("old", Desk().renew) == "new"


def test_another_users_login_is_neither_taken_nor_replaced(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, desk.login())
    theirs = stored(path, replace(desk.login(), username="eve", token="hers"))
    assert shared.after_refusal("token-0", desk.renew) == "token-1"
    assert load_login(path) == theirs


def test_a_login_that_was_forgotten_meanwhile_is_not_written_again(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, desk.login())
    assert shared.after_refusal("token-0", desk.renew) == "token-1"
    assert not path.exists()


@pytest.mark.parametrize("to_another", [True, False])
def test_a_login_is_replaced_after_the_renewal_under_way(path: Path, to_another: bool) -> None:
    desk, begun, answered = Desk(), threading.Event(), threading.Event()
    shared = SharedLogin(path, stored(path, desk.login()))
    new = Login("http://elsewhere", "t", username="eve") if to_another else None

    def renew(refresh_token: str) -> dict[str, Any]:
        begun.set()
        assert answered.wait(10)
        return desk.renew(refresh_token)

    with ThreadPoolExecutor(2) as pool:
        renewal = pool.submit(shared.after_refusal, "token-0", renew)
        assert begun.wait(10)
        replacing = pool.submit(replace_login, new, path)
        with pytest.raises(TimeoutError):
            replacing.result(0.2)
        answered.set()
        assert renewal.result(10) == "token-1"
        replacing.result(10)
    assert load_login(path) == new


def test_a_renewal_waits_for_the_one_under_way(path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(path, stored(path, desk.login()))
    lock = os.open(path.with_name(".client.yml.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(shared.after_refusal("token-0", desk.renew)))
    thread.start()
    save_login(replace(desk.login(), token="of the other", refresh_token="r"), path)
    os.close(lock)
    thread.join(10)
    assert got == ["of the other"] and desk.asked == []


def test_a_folder_that_can_not_be_written_is_named_before_the_login_is_used_up(tmp_path: Path) -> None:
    desk = Desk()
    shared = SharedLogin(tmp_path / "no such folder" / "client.yml", desk.login())
    with pytest.raises(BrokenLogin, match="no such folder"):
        shared.after_refusal("token-0", desk.renew)
    assert desk.asked == []


def test_no_token_is_shown_by_a_login() -> None:
    assert "token-0" not in repr(Desk().login()) and "refresh-0" not in repr(Desk().login())


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasswordServer]:
    """A server whose short tokens live for seconds."""
    database = f"sqlite:///{tmp_path_factory.mktemp('forgetful') / 'balsam.db'}"
    with PasswordServer(database, short_token_ttl_sec=SHORT_SEC, beat_sec=0.5) as server:
        yield server


def log_in(server: PasswordServer, user: User, path: Path) -> Login:
    with Client(server.url) as client:
        answer = login_flows.by_password(client, user.name, user.password, renewable=True)
    return stored(path, login_flows.login_of(answer, server.url, user.name, None))


WORKER = """
import sys, time
from pathlib import Path
from balsam.sdk.context import default_client
stop, clients = Path(sys.argv[1]), set()
while not stop.exists():
    clients.add(default_client().key)
    assert default_client().get("/auth/password/me")["username"] == sys.argv[2]
    print("asked", flush=True)
    time.sleep(0.05)
print(len(clients))
"""


def renewals_and_ends(server: PasswordServer, user: User) -> tuple[int, int]:
    """How many refresh tokens of the user have been used, and how many logins have ended."""
    mine = "owner_id = (SELECT id FROM users WHERE username = :name)"
    with server.server.db.read() as conn:
        used, ended = (
            conn.execute(text(f"SELECT count(*) FROM {rows} IS NOT NULL AND {mine}"), {"name": user.name})
            for rows in ("refresh_tokens WHERE used", "logins WHERE ended")
        )
        return used.scalar_one(), ended.scalar_one()


def test_eight_processes_share_one_login_through_several_expiries(
    forgetful: PasswordServer, path: Path, tmp_path: Path
) -> None:
    user = forgetful.new_user()
    log_in(forgetful, user, path)
    began = time.monotonic()
    stop = tmp_path / "stop"
    environment = {**os.environ, "BALSAM_CLIENT_PATH": str(path)}
    said = [tmp_path / f"said-{number}" for number in range(8)]
    workers = []
    for file in said:
        with file.open("w") as out:
            command = [sys.executable, "-c", WORKER, str(stop), user.name]
            workers.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))

    def told() -> str:
        return "\n".join(file.read_text()[-1000:] for file in said)

    wait_until(lambda: all("asked" in file.read_text() for file in said), on_timeout=told)
    before, _ = renewals_and_ends(forgetful, user)
    wait_until(lambda: renewals_and_ends(forgetful, user)[0] >= before + 3, on_timeout=told)
    stop.touch()
    assert [worker.wait(60) for worker in workers] == [0] * 8, told()
    assert [file.read_text().splitlines()[-1] for file in said] == ["1"] * 8, "each kept its one client"
    renewals, ended = renewals_and_ends(forgetful, user)
    # However long it took: of a token's life, all but the margin is over before it is renewed.
    expiries = (time.monotonic() - began) / (SHORT_SEC - MARGIN.total_seconds())
    assert renewals <= expiries + 1 and ended == 0, "one of the eight renews for all"


def test_a_stream_goes_on_when_its_token_has_run_out(forgetful: PasswordServer, path: Path) -> None:
    login = log_in(forgetful, forgetful.new_user(), path)
    stop, heard = threading.Event(), list[str]()

    def hear() -> None:
        with login.client(path) as client:
            for message in follow(client, stop=stop):
                heard.append(message.name)

    thread = threading.Thread(target=hear)
    thread.start()
    wait_until(lambda: heard.count("hello") >= 3, timeout=60, on_timeout=lambda: str(heard))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_login_that_was_ended_says_why(forgetful: PasswordServer, path: Path) -> None:
    user = forgetful.new_user()
    login = log_in(forgetful, user, path)
    with login.client(path) as client:
        client.delete("/auth/logins/current")
        with pytest.raises(AuthError, match=r"run `balsam login`.*ended by its user"):
            client.get("/auth/password/me")


def test_the_processs_client_stays_the_same_when_its_login_is_renewed(
    forgetful: PasswordServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALSAM_CLIENT_PATH", str(path))
    login = log_in(forgetful, forgetful.new_user(), path)
    client = default_client()
    save_login(replace(login, token_expiry=datetime.now(UTC)), path)
    assert default_client() is client
    client.get("/auth/password/me")
    save_login(replace(login, username="another"), path)
    assert default_client() is not client
    default_client().close()
    client.close()


@pytest.mark.parametrize("text_", ["refresh_token: 3", 'refresh_token: "a\\nb"', "username: [1]"])
def test_a_file_with_a_broken_refresh_token_is_no_login(path: Path, text_: str) -> None:
    path.write_text(f"api_root: http://server\n{text_}\n")
    with pytest.raises(BrokenLogin):
        load_login(path)


def test_a_login_that_is_not_renewed_is_stored_as_a_published_client_reads_it(path: Path) -> None:
    answer = {"access_token": "t", "token_type": "bearer", "expiration": "2026-11-24T12:20:37.480357"}
    save_login(login_flows.login_of(answer, "http://server", "ada", None), path)
    names = {line.partition(":")[0] for line in path.read_text().splitlines()}
    published = {"api_root", "client_class", "token", "token_expiry"}
    assert names == published | {"connect_timeout", "read_timeout", "retry_count"}
